/**
 * Split rings from the driver's side (virtio 1.1, section 2.6): chains, indirect tables, event
 * indices, and everything a driver may not do.
 */
import { beforeEach, describe, expect, test } from '@jest/globals';
import { queueField, Virtqueue } from '../../src/hw/virtio/virtqueue.js';
import { FakeRam } from '../support/fake-ram.js';

const SIZE = 8;
const DESC = 0x1000;
const AVAIL = 0x2000;
const USED = 0x3000;
let ram: FakeRam;
let queue: Virtqueue;
let avail = 0;

function descriptor(
  i: number,
  gpa: number,
  length: number,
  flags = 0,
  next = 0,
  table = DESC,
): void {
  ram.writeU64(table + 16 * i, BigInt(gpa));
  ram.writeU32(table + 16 * i + 8, length);
  ram.writeU16(table + 16 * i + 12, flags);
  ram.writeU16(table + 16 * i + 14, next);
}
function offer(head: number): void {
  ram.writeU16(AVAIL + 4 + 2 * (avail % SIZE), head);
  ram.writeU16(AVAIL + 2, ++avail & 0xffff);
}
function make(changes: Partial<{ desc: bigint; driver: bigint; device: bigint }> = {}): Virtqueue {
  const q = new Virtqueue(ram, 0, {
    ...queueField.reset(),
    size: SIZE,
    enabled: true,
    desc: BigInt(DESC),
    driver: BigInt(AVAIL),
    device: BigInt(USED),
    ...changes,
  });
  q.indirect = true;
  return q;
}

beforeEach(() => {
  ram = new FakeRam(1 << 20);
  avail = 0;
  queue = make();
});

test('a chain comes out as it was put in, and goes back with its length', () => {
  descriptor(0, 0x5000, 16, 1, 3);
  descriptor(3, 0x6000, 512, 1 | 2, 5);
  descriptor(5, 0x7000, 1, 2);
  offer(0);
  const chain = queue.pop()!;
  expect([chain.readable, chain.writable, chain.readLength, chain.writeLength]).toEqual([
    [0x5000, 16],
    [0x6000, 512, 0x7000, 1],
    16,
    513,
  ]);
  ram.write(0x5000, Buffer.from('0123456789abcdef'));
  expect(chain.read(ram, 4, 100).toString()).toBe('456789abcdef');
  expect(chain.write(ram, 510, Buffer.from('xyzt'))).toBe(3);
  expect([ram.read(0x6000 + 510, 2)!.toString(), ram.read(0x7000, 1)!.toString()]).toEqual([
    'xy',
    'z',
  ]);
  queue.push(chain, 513);
  expect([ram.readU16(USED + 2), ram.readU32(USED + 4), ram.readU32(USED + 8)]).toEqual([
    1, 0, 513,
  ]);
  expect(queue.pop()).toBeUndefined();
  expect(queue.fault).toBeUndefined();
});

test('an indirect table', () => {
  descriptor(0, 0x5000, 16, 1, 1, 0x8000);
  descriptor(1, 0x6000, 32, 2, 0, 0x8000);
  descriptor(4, 0x8000, 32, 4);
  offer(4);
  const chain = queue.pop()!;
  expect([chain.head, chain.readLength, chain.writeLength]).toEqual([4, 16, 32]);
});

test('indices wrap', () => {
  descriptor(0, 0x5000, 16);
  queue.state.lastAvail = queue.state.usedIdx = 0xffff;
  avail = 0xffff;
  offer(0);
  const chain = queue.pop()!;
  queue.push(chain, 0);
  expect([queue.state.lastAvail, queue.state.usedIdx, ram.readU16(USED + 2)]).toEqual([0, 0, 0]);
});

test('given back untouched, it comes again', () => {
  descriptor(0, 0x5000, 16);
  offer(0);
  expect(queue.pop()!.head).toBe(0);
  queue.unpop(1);
  expect(queue.pop()!.head).toBe(0);
});

describe('interrupts and doorbells', () => {
  beforeEach(() => descriptor(0, 0x5000, 16));
  const complete = () => {
    offer(0);
    queue.push(queue.pop()!, 0);
    return queue.wantsInterrupt();
  };

  test('flags: the driver may say no', () => {
    expect(complete()).toBe(true);
    ram.writeU16(AVAIL, 1);
    expect(complete()).toBe(false);
    queue.disableNotify();
    expect(ram.readU16(USED)).toBe(1);
    expect(queue.enableNotify()).toBe(false);
    expect(ram.readU16(USED)).toBe(0);
  });

  test('event index: only when the used index passes it', () => {
    queue.eventIdx = true;
    expect(complete()).toBe(true); // the first decision is always yes
    ram.writeU16(AVAIL + 4 + 2 * SIZE, 2);
    expect(complete()).toBe(false);
    expect(complete()).toBe(true);
    expect(complete()).toBe(false);
  });

  test('event index: a doorbell is asked for beyond what has been seen', () => {
    queue.eventIdx = true;
    offer(0);
    expect(queue.enableNotify()).toBe(true);
    expect(ram.readU16(USED + 4 + 8 * SIZE)).toBe(0);
    expect(queue.enableNotify(1)).toBe(false);
    expect(ram.readU16(USED + 4 + 8 * SIZE)).toBe(1);
  });
});

describe('what a driver may not do breaks the queue and nothing else', () => {
  const cases: [string, () => void, RegExp][] = [
    ['head out of range', () => offer(SIZE), /descriptor 8/],
    ['next out of range', () => (descriptor(0, 0x5000, 16, 1, 99), offer(0)), /descriptor 99/],
    [
      'a loop',
      () => (descriptor(0, 0x5000, 16, 1, 1), descriptor(1, 0x5000, 16, 1, 0), offer(0)),
      /loops/,
    ],
    ['a buffer outside RAM', () => (descriptor(0, 0xfff00, 0x200), offer(0)), /not RAM/],
    [
      'an address of 64 bits',
      () => (descriptor(0, 0, 16), ram.writeU64(DESC, 0xffff_ffff_ffff_f000n), offer(0)),
      /not RAM/,
    ],
    ['a length that wraps', () => (descriptor(0, 0x5000, 0xffff_ffff), offer(0)), /not RAM/],
    ['an empty buffer', () => (descriptor(0, 0x5000, 0), offer(0)), /not RAM/],
    [
      'readable after writable',
      () => (descriptor(0, 0x5000, 16, 3, 1), descriptor(1, 0x6000, 16), offer(0)),
      /readable/,
    ],
    ['available index too far ahead', () => ram.writeU16(AVAIL + 2, SIZE + 1), /ahead/],
    ['indirect with next', () => (descriptor(0, 0x8000, 16, 5, 1), offer(0)), /next/],
    ['indirect of odd length', () => (descriptor(0, 0x8000, 17, 4), offer(0)), /17 bytes/],
    ['empty indirect table', () => (descriptor(0, 0x8000, 0, 4), offer(0)), /0 bytes/],
    ['indirect outside RAM', () => (descriptor(0, 0xffff0, 32, 4), offer(0)), /outside RAM/],
    [
      'nested indirect',
      () => (descriptor(0, 0x8000, 16, 4), descriptor(0, 0x9000, 16, 4, 0, 0x8000), offer(0)),
      /none may be/,
    ],
    [
      'an indirect table that is the descriptor table',
      () => (descriptor(0, DESC, 128, 4), offer(0)),
      /none may be/,
    ],
    [
      'a loop in an indirect table',
      () => (
        descriptor(0, 0x8000, 32, 4),
        descriptor(0, 0x5000, 8, 1, 1, 0x8000),
        descriptor(1, 0x5000, 8, 1, 0, 0x8000),
        offer(0)
      ),
      /loops/,
    ],
  ];
  test.each(cases)('%s', (_name, arrange, why) => {
    arrange();
    expect(queue.pop()).toBeUndefined();
    expect(queue.fault).toMatch(why);
    expect(queue.usable).toBe(false);
    expect([queue.pending, queue.enableNotify(), queue.wantsInterrupt()]).toEqual([
      0,
      false,
      false,
    ]);
  });

  test.each([
    [{ desc: 0x1008n }],
    [{ driver: 0x2001n }],
    [{ device: 0x3002n }],
    [{ desc: 0xfffc0n }],
    [{ device: 0xffff_ffff_ffff_0000n }],
  ])('rings at %p', rings => {
    expect(make(rings).fault).toMatch(/rings/);
  });
});
