/** Files that are closed at the end of a VM are waited for, and none for ever. */
import { filesClosed } from '../../../src/vm/closing.js';
import type { Clock } from '../../../src/host/ports.js';

/** Time passes as fast as it is waited for. */
function hastyClock(): Clock {
  let ms = 0;
  const now = () => ms;
  return {
    nowMs: now,
    bootMs: now,
    wallMs: now,
    timer: (delayMs, fn) => {
      const handle = setImmediate(() => {
        ms += delayMs;
        fn();
      });
      return { dispose: () => clearImmediate(handle) };
    },
  };
}

test('what settles is waited for, however it does; what hangs is told of', async () => {
  const told: string[] = [];
  const note = (line: string) => void told.push(line);
  let whole = false;
  const soon = Promise.resolve().then(() => (whole = true));
  const failed = Promise.reject(new Error('planted'));
  await filesClosed(hastyClock(), [undefined, soon, failed], note);
  expect([whole, told]).toEqual([true, []]);
  await filesClosed(hastyClock(), [new Promise(() => undefined)], note);
  expect(told).toEqual(['files could not be closed: nothing within 5000 ms']);
});
