/**
 * Goal: a wait ends in time, what gets on is not ended for being slow, and a process that was
 * stopped reads first. Method: a clock that moves when told.
 */
import { within } from '../../../src/migration/wait.js';
import { ManualClock } from '../../support/block-host.js';

test('without a result within the time it fails, and says what was awaited', async () => {
  const clock = new ManualClock();
  const failed = expect(
    within(clock, 100, 'the disk', new Promise(() => undefined)),
  ).rejects.toThrow('the disk: nothing within 100 ms');
  await clock.advance(100);
  await failed;
  expect(clock.armed).toBe(0);
});

test('as long as there is progress it waits; then the time counts anew', async () => {
  const clock = new ManualClock();
  let done = 0;
  let error: Error | undefined;
  within(clock, 100, 'the disk', new Promise(() => undefined), () => done).catch(
    e => (error = e as Error),
  );
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
  const value = within(clock, 100, 'x', new Promise<number>(resolve => (finish = resolve)), () =>
    clock.nowMs(),
  );
  await clock.advance(1000);
  finish(7);
  expect(await value).toBe(7);
  expect(clock.armed).toBe(0);
});

/** A clock whose process can be stopped: time goes on, and no timer fires. */
class StoppableClock extends ManualClock {
  private stoppedMs = 0;
  override nowMs = () => this.stoppedMs + this.ran();
  private readonly ran = this.wallMs;
  stop(ms: number): void {
    this.stoppedMs += ms;
  }
}

async function outcome(promise: Promise<string>): Promise<() => string | undefined> {
  let told: string | undefined;
  promise.then(
    value => (told = value),
    (error: Error) => (told = error.message),
  );
  return () => told;
}

test.each([50, 750, 799])(
  'stopped for a minute after %d ms: what had come meanwhile is taken',
  async at => {
    const clock = new StoppableClock();
    let answer!: (value: string) => void;
    const told = await outcome(
      within(clock, 800, 'the disk', new Promise(resolve => (answer = resolve))),
    );
    await clock.advance(at);
    clock.stop(60_000);
    await clock.advance(51); // the first timer after it
    expect(told()).toBeUndefined();
    answer('done');
    await clock.advance(1);
    expect(told()).toBe('done');
  },
);

test('stopped for a minute, and still nothing: it ends all the same', async () => {
  const clock = new StoppableClock();
  const told = await outcome(within(clock, 800, 'the disk', new Promise(() => undefined)));
  await clock.advance(750);
  clock.stop(60_000);
  await clock.advance(300);
  expect(told()).toBe('the disk: nothing within 800 ms');
});
