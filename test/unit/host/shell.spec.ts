/**
 * Goal: a command has taken all that was written to it, or that is an error. Method: real commands
 * that read some of it, all, or nothing; little enough to lie in the pipe's buffer when they end.
 */
import { NodeShell } from '../../../src/host/node/shell.js';

/** How it ended: undefined, or the sentence. */
async function write(command: string, bytes: number): Promise<string | undefined> {
  const stream = new NodeShell().run(command, 'to');
  const ended = new Promise<Error | undefined>(resolve => stream.onEnd(resolve));
  await stream.write(Buffer.alloc(bytes, 0x0a)).catch(() => undefined);
  stream.end();
  return (await ended)?.message;
}

const early = 'the command ended before it had read all';

test.each([
  ['cat > /dev/null', 5000, undefined],
  ['cat', 5000, undefined],
  ['head -c 5000 > /dev/null', 5000, undefined],
  ['head -c 1000 > /dev/null', 5000, early],
  ['head -c 4999', 5000, early],
  ['true', 1, early],
  ['exec true', 3_000_000, early],
  ['head -c 10 > /dev/null; exit 7', 5000, 'the command failed with exit code 7'],
  ['cat | (sleep 0.1; cat) > /dev/null', 5000, undefined],
])('%s', async (command, bytes, sentence) => {
  expect(await write(command, bytes)).toBe(sentence);
});

test('a command that is read from says what it says', async () => {
  const stream = new NodeShell().run('printf "%s" "$0 x"; exit 3', 'from');
  const parts: Uint8Array[] = [];
  stream.onData(bytes => parts.push(bytes));
  const error = await new Promise<Error | undefined>(resolve => stream.onEnd(resolve));
  expect(Buffer.concat(parts).toString()).toBe('/bin/sh x');
  expect(error?.message).toBe('the command failed with exit code 3');
});
