/**
 * Goal: held output leaves in order, whole epochs at a time, never without the gate, never lost,
 * never more than the bound.
 */
import { jest } from '@jest/globals';
import fc from 'fast-check';
import { type OutputHoldLimits, OutputHoldFilter } from '../../../src/net/filter/output-hold.js';

function buffer(limits: OutputHoldLimits = { packets: 8, bytes: 1000 }) {
  const out: number[] = [];
  const world = { room: true, roomCalls: 0 };
  const filter: OutputHoldFilter = new OutputHoldFilter('nop', limits, {
    forward: f => world.room && out.push(f[0]) > 0,
    onRoom: () => void world.roomCalls++,
  });
  return {
    filter,
    out,
    world,
    put: (n: number, length = 60) => filter.take(Buffer.alloc(length, n)),
  };
}

it('holds, and releases by epoch', () => {
  const { filter, out, put } = buffer();
  filter.hold(() => true);
  put(1);
  filter.cut(1);
  put(2);
  filter.cut(2);
  put(3);
  expect(out).toEqual([]);
  filter.release(1);
  expect(out).toEqual([1]);
  filter.release(2);
  expect(out).toEqual([1, 2]);
  filter.releaseAll();
  expect(out).toEqual([1, 2, 3]);
  expect(filter.on).toBe(false);
});

it('says when output begins to wait for an epoch, once', () => {
  const { filter, put } = buffer();
  const began = jest.fn();
  put(0);
  filter.hold(() => true, began);
  expect([filter.waits, began.mock.calls.length]).toEqual([false, 0]);
  for (const n of [1, 2]) put(n);
  expect([filter.waits, began.mock.calls.length]).toEqual([true, 1]);
  filter.cut(1);
  filter.release(1);
  expect(filter.waits).toBe(false);
  put(3);
  filter.cut(2);
  put(4);
  filter.release(2);
  expect([filter.waits, began.mock.calls.length]).toEqual([true, 2]);
  filter.releaseAll();
  expect(filter.waits).toBe(false);
});

it('an epoch that was given up leaves with the next', () => {
  const { filter, out, put } = buffer();
  filter.hold(() => true);
  put(1);
  filter.cut(1);
  put(2);
  filter.cut(2);
  filter.release(2);
  expect(out).toEqual([1, 2]);
});

it('a copy leaves with its epoch and through the gate, like a packet', () => {
  const { filter } = buffer();
  const copies: number[] = [];
  let open = false;
  const emit = (n: number) => filter.emit(Buffer.alloc(60, n), copy => copies.push(copy[0]));
  filter.hold(() => open);
  for (const n of [1, 2]) emit(n);
  filter.cut(1);
  emit(3);
  filter.release(1);
  expect(copies).toEqual([]);
  open = true;
  filter.release(1);
  expect(copies).toEqual([1, 2]);
  open = false;
  filter.cut(2);
  filter.release(2);
  expect(copies).toEqual([1, 2]);
  filter.drop();
  open = true;
  filter.release(2);
  expect(copies).toEqual([1, 2]);
});

it('asks the gate before every packet', () => {
  const { filter, out, put } = buffer();
  let allowed = 2;
  filter.hold(() => allowed-- > 0);
  for (const n of [1, 2, 3, 4]) put(n);
  filter.cut(1);
  filter.release(1);
  expect(out).toEqual([1, 2]);
  allowed = 9;
  filter.release(1);
  expect(out).toEqual([1, 2, 3, 4]);
});

it('is full, keeps what it has, and says when there is room', () => {
  const { filter, out, world, put } = buffer({ packets: 2, bytes: 1000 });
  filter.hold(() => true);
  expect([put(1), put(2), put(3)]).toEqual(['stolen', 'stolen', 'full']);
  filter.cut(1);
  expect(world.roomCalls).toBe(0);
  filter.release(1);
  expect(out).toEqual([1, 2]);
  expect(world.roomCalls).toBe(1);
  const small = buffer({ packets: 100, bytes: 100 });
  small.filter.hold(() => true);
  expect([small.put(1), small.put(2)]).toEqual(['stolen', 'full']);
});

it('drops for good when this side has lost', () => {
  const { filter, out, put } = buffer();
  filter.hold(() => true);
  put(1);
  filter.cut(1);
  filter.drop();
  expect(put(2)).toBe('full');
  filter.release(1);
  expect(out).toEqual([]);
  expect(filter.heldPackets).toBe(0);
});

it('keeps order when the world is busy while it is switched off', () => {
  const { filter, out, world, put } = buffer();
  filter.hold(() => true);
  put(1);
  world.room = false;
  filter.releaseAll();
  expect(filter.on).toBe(true);
  put(2);
  world.room = true;
  filter.pump();
  expect(out).toEqual([1, 2]);
  expect(filter.on).toBe(false);
});

it('copies what it keeps', () => {
  const { filter, out } = buffer();
  filter.hold(() => true);
  const frame = Buffer.alloc(60, 7);
  filter.take(frame);
  frame.fill(9);
  filter.releaseAll();
  expect(out).toEqual([7]);
});

it('agrees with a list for any order of calls', () => {
  const call = fc.oneof(
    fc.constant('put'),
    fc.constant('cut'),
    fc.constant('release'),
    fc.constant('busy'),
    fc.constant('free'),
  );
  fc.assert(
    fc.property(fc.array(call, { maxLength: 60 }), calls => {
      const { filter, out, world, put } = buffer({ packets: 5, bytes: 10_000 });
      filter.hold(() => true);
      const accepted: number[] = [];
      let [sequence, epoch, cutAt, safe] = [0, 0, 0, 0];
      for (const c of calls) {
        if (c === 'put' && put(++sequence % 256) === 'stolen') accepted.push(sequence % 256);
        if (c === 'busy' || c === 'free') world.room = c === 'free';
        if (c === 'free') filter.pump();
        if (c === 'cut') {
          filter.cut(++epoch);
          cutAt = accepted.length;
        }
        if (c === 'release') {
          filter.release(epoch);
          safe = cutAt;
        }
        expect(out).toEqual(accepted.slice(0, out.length));
        expect(out.length).toBeLessThanOrEqual(safe);
        if (world.room) expect(out.length).toBe(safe);
      }
    }),
  );
});
