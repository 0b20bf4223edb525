/**
 * Goal: the secondary's network opens only when the primary's is surely shut. Method: every way in
 * which a connection can end, on a local and on a network stream, with a clock that moves when
 * told.
 */
import { type FenceResult, fence } from '../../../src/colo/fence.js';
import { type Message, codecOf } from '../../../src/colo/messages.js';
import type { Stream } from '../../../src/host/ports.js';
import { Link } from '../../../src/migration/link.js';
import { ManualClock } from '../../support/block-host.js';

const times = { leaseMs: 1000, leaseMarginMs: 250, stopTimeoutMs: 600 };
const never = new Promise<void>(() => undefined);

function setup({ local = false, peerLeft = false, decided = false }) {
  const clock = new ManualClock();
  let end: (error?: Error) => void = () => undefined;
  const stream = {
    peer: 'P',
    local,
    write: async () => undefined,
    onData: () => undefined,
    onEnd: (fn: typeof end) => (end = fn),
    resume: () => undefined,
  };
  const link = new Link<Message>(stream as unknown as Stream, clock, codecOf('secondary'));
  let result: FenceResult | undefined;
  void fence(link, clock, times, {
    stopped: never,
    peerAlone: never,
    peerLeft,
    decided,
    lastGrantMs: 0,
  }).then(value => (result = value));
  return {
    clock,
    end: (code?: string) =>
      end(code === undefined ? undefined : Object.assign(new Error(code), { code })),
    result: () => result,
  };
}

test.each([undefined, 'ECONNRESET', 'EPIPE'])(
  'the end of a local stream (%s) is the end of the process behind it',
  async code => {
    const { clock, end, result } = setup({ local: true });
    end(code);
    await clock.advance(1);
    expect(result()).toBe('peer-closed');
  },
);

test.each([
  [true, 'ETIMEDOUT'],
  [true, 'EHOSTUNREACH'],
  [false, undefined],
  [false, 'ECONNRESET'],
  [false, 'ETIMEDOUT'],
  [false, 'EHOSTUNREACH'],
])('local %s, %s: says nothing of the process, so its lease is waited for', async (local, code) => {
  const { clock, end, result } = setup({ local });
  end(code);
  await clock.advance(1249);
  expect(result()).toBeUndefined();
  await clock.advance(2);
  expect(result()).toBe('lease-over');
});

test(
  'a primary that has said that it left shut its gate before: it is asked to stop, and no lease ' +
    'is waited for',
  async () => {
    const { clock, result } = setup({ peerLeft: true });
    await clock.advance(599);
    expect(result()).toBeUndefined();
    await clock.advance(2);
    expect(result()).toBe('peer-left');
    const gone = setup({ peerLeft: true });
    gone.end('ECONNRESET');
    await gone.clock.advance(1);
    expect(gone.result()).toBe('peer-left');
  },
);

test('where an arbiter has decided no word is waited for, and the lease all the same', async () => {
  const { clock, result } = setup({ decided: true });
  await clock.advance(1249);
  expect(result()).toBeUndefined();
  await clock.advance(2);
  expect(result()).toBe('lease-over');
  const left = setup({ decided: true, peerLeft: true });
  await left.clock.advance(1);
  expect(left.result()).toBe('peer-left');
});
