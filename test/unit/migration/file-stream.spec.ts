/**
 * Goal: a file that cannot be read ends the stream with the reason, and nothing else hears of it.
 * Method: a file whose reads fail; jest fails a test for a rejection that nothing handles.
 */
import type { OpenFile } from '../../../src/host/ports.js';
import { FileStream } from '../../../src/migration/file-stream.js';

test('a read that fails', async () => {
  const closed: string[] = [];
  const file = {
    path: '/saved',
    pread: () => Promise.reject(new Error("pread of '/saved': Input/output error")),
    close: async () => void closed.push('closed'),
  } as unknown as OpenFile;
  const stream = new FileStream(file, 0, 'read');
  stream.onData(() => undefined);
  const error = await new Promise<Error | undefined>(resolve => stream.onEnd(resolve));
  expect(error?.message).toBe("pread of '/saved': Input/output error");
  // A rejection is called unhandled when the main loop has gone round.
  await new Promise(resolve => setImmediate(resolve));
  stream.destroy();
  await new Promise(resolve => setImmediate(resolve));
  expect(closed).toEqual(['closed']);
});
