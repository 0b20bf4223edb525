/** Goal: a wait ends in time, and what gets on is not ended for being slow. Method: a clock that moves when told. */
import { within } from '../../../src/migration/wait.js';
import { ManualClock } from '../../support/block-host.js';

test('without a word within the time it fails, and says what was awaited', async () => {
  const clock = new ManualClock();
  const failed = expect(within(clock, 100, 'the disk', new Promise(() => undefined))).rejects.toThrow(
    'the disk: nothing within 100 ms',
  );
  await clock.advance(100);
  await failed;
  expect(clock.armed).toBe(0);
});

test('as long as there is progress it waits; then the time counts anew', async () => {
  const clock = new ManualClock();
  let done = 0;
  let error: Error | undefined;
  within(clock, 100, 'the disk', new Promise(() => undefined), () => done).catch(e => (error = e as Error));
  for (let n = 0; n < 20; n++) {
    done++;
    await clock.advance(50);
  }
  expect(error).toBeUndefined();
  await clock.advance(200);
  expect(error?.message).toContain('nothing within 100 ms');
});

test('what comes in time comes, and no timer is left', async () => {
  const clock = new ManualClock();
  let finish!: (value: number) => void;
  const value = within(clock, 100, 'x', new Promise<number>(resolve => (finish = resolve)), () => clock.nowMs());
  await clock.advance(1000);
  finish(7);
  expect(await value).toBe(7);
  expect(clock.armed).toBe(0);
});
