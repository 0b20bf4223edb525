/**
 * What holds for every device: reset is fresh, state goes out and back unchanged, a paused device
 * does nothing, no access and no bytes make it throw.
 */
import { describe, expect, test } from '@jest/globals';
import { VmError } from '../../src/base/errors.js';
import type { Device } from '../../src/hw/device.js';
import { deviceTypes } from '../../src/hw/device-types.js';
import { settle } from '../support/device-bench.js';
import { FullBoard, withoutRoom } from '../support/full-board.js';
import { mutated } from '../support/mutated.js';
import { Random } from '../support/random.js';

const SEEDS = [1, 2, 3, 4, 5];
const ids = new FullBoard().devices.map(device => device.id);
const saved = (board: FullBoard) =>
  new Map(board.devices.map(d => [d.id, (d.beforeSave(), d.vmstate.save(d.state))]));
const find = (board: FullBoard, id: string): Device => board.board.devices.find(id)!;

/** After a wild guest, stopped. */
async function wild(seed: number, times = 3000): Promise<FullBoard> {
  const board = new FullBoard();
  board.board.devices.resume();
  board.chr.type('typed ahead');
  board.poke(new Random(seed), times);
  await settle();
  await board.board.devices.pause();
  return board;
}

test('every device of the board is here, and one of each -device', () => {
  const chips = [
    ...['pci-host', 'rtc', 'i8042', 'port92', 'acpi-pm', 'fw_cfg'],
    ...['serial0', 'serial1'],
  ];
  const withDevices = ['piix3', 'piix3-ide'];
  expect(ids.slice(0, chips.length)).toEqual(chips);
  expect(ids).toEqual(expect.arrayContaining(withDevices));
  const types = deviceTypes.length - withoutRoom.length;
  expect(ids).toHaveLength(chips.length + withDevices.length + types);
});

describe.each(SEEDS)('seed %i', seed => {
  test('10000 random accesses never throw', async () => {
    const board = new FullBoard();
    board.board.devices.resume();
    const random = new Random(seed);
    const ram = board.vm.ram.view(0, board.vm.ram.size)!;
    for (let i = 0; i < ram.length; i += 64) ram[i] = random.below(256);
    board.poke(random, 10_000);
    await settle();
  });

  test('reset is fresh', async () => {
    const board = await wild(seed);
    board.board.reset();
    const fresh = saved(new FullBoard());
    for (const device of board.devices) {
      const kept =
        (device.constructor as { batteryBacked?: readonly string[] }).batteryBacked ?? [];
      const state = { ...(device.state as Record<string, unknown>) };
      for (const name of kept)
        state[name] = (device.vmstate.reset() as Record<string, unknown>)[name];
      expect([device.id, device.vmstate.save(state).toString('hex')]).toEqual([
        device.id,
        fresh.get(device.id)!.toString('hex'),
      ]);
    }
  });

  test('saved, parsed, applied, saved: the same bytes, here and on another board', async () => {
    const board = await wild(seed);
    const blob = board.board.devices.save();
    const other = new FullBoard();
    await other.board.devices.pause();
    other.vm.clockNs = board.vm.clockNs;
    for (const target of [board, other]) {
      target.board.devices.parse(blob).apply();
      expect(target.board.devices.save().equals(blob)).toBe(true);
    }
    expect(other.board.bus.mmio.list()).toEqual(board.board.bus.mmio.list());
  });

  test('parsing touches nothing', async () => {
    const blob = (await wild(seed)).board.devices.save();
    const other = new FullBoard();
    const before = other.board.devices.save();
    other.board.devices.parse(blob);
    expect(other.board.devices.save().equals(before)).toBe(true);
  });

  test('a pause is idempotent, and a paused device emits nothing', async () => {
    const board = await wild(seed);
    const before = board.board.devices.save();
    const seen = () => [
      board.vm.messages.length,
      JSON.stringify([...board.vm.levels]),
      board.chr.written.length,
      board.net.sent.length + board.wire.sent.length,
      board.disk.log.length,
      board.vm.ram.hash(),
    ];
    const was = seen();
    await board.board.devices.pause();
    expect(board.host.armed).toBe(0);
    board.net.arrive(Buffer.alloc(100, 0xff));
    board.net.drain();
    board.wire.arrive(Buffer.alloc(100, 0xff));
    board.wire.drain();
    board.chr.drain();
    for (const bell of board.vm.bells) bell.ring();
    board.host.advance(60_000);
    await settle();
    expect(seen()).toEqual(was);
    board.vm.clockNs -= 60_000_000_000n;
    expect(board.board.devices.save().equals(before)).toBe(true);
  });

  test('resume is idempotent', async () => {
    const board = await wild(seed);
    board.board.devices.resume();
    const armed = board.host.armed;
    board.board.devices.resume();
    expect(board.host.armed).toBe(armed);
  });
});

describe.each(ids)('%s: untrusted state', id => {
  test('each truncation is refused by name', async () => {
    const board = await wild(7);
    const bytes = saved(board).get(id)!;
    const { vmstate } = find(board, id);
    const step = Math.max(1, Math.floor(bytes.length / 200));
    for (let length = 0; length < bytes.length; length += step) {
      expect(() => vmstate.parse(bytes.subarray(0, length), vmstate.version)).toThrow(VmError);
      expect(() => vmstate.parse(bytes.subarray(0, length), vmstate.version)).toThrow(vmstate.name);
    }
    expect(() => vmstate.parse(Buffer.concat([bytes, Buffer.alloc(1)]), vmstate.version)).toThrow(
      vmstate.name,
    );
    expect(() => vmstate.parse(bytes, vmstate.version + 1)).toThrow('newer');
  });

  test(
    'changed bytes are refused by name, or make a state that the device lives with, and whose ' +
      'successor is accepted',
    async () => {
      const random = new Random(11);
      const board = await wild(8, 500);
      const bytes = saved(board).get(id)!;
      const device = find(board, id);
      for (let i = 0; i < 300; i++) await succeeds(board, device, mutated(bytes, random), random);
    },
  );

  test('each value of each byte register: refused, or its successor is accepted', async () => {
    const random = new Random(13);
    const board = await wild(8, 500);
    const bytes = saved(board).get(id)!;
    const device = find(board, id);
    for (const at of byteFields(device)) {
      for (let value = 0; value < 256; value++) {
        const changed = Buffer.from(bytes);
        changed[at] = value;
        await succeeds(board, device, changed, random);
      }
    }
  });
});

/** Offsets of the fields of one byte that precede any of variable length. */
function byteFields(device: Device): number[] {
  const found: number[] = [];
  let at = 0;
  for (const { size } of Object.values(device.vmstate.layout.fields)) {
    if (size === undefined) break;
    if (size === 1) found.push(at);
    at += size;
  }
  return found;
}

/** Refused by name; or loaded, run for a while, saved, and what was saved is accepted. */
async function succeeds(
  board: FullBoard,
  device: Device,
  bytes: Buffer,
  random: Random,
): Promise<void> {
  const state = parsed(device, bytes);
  if (state === undefined) return;
  device.state = state;
  device.afterLoad();
  device.resume();
  board.poke(random, 30, device.id);
  board.host.advance(random.next() * 2000);
  await Promise.resolve();
  await device.pause();
  device.beforeSave();
  device.vmstate.parse(device.vmstate.save(device.state), device.vmstate.version);
}

/** undefined: refused, with the device's name in the sentence. */
function parsed(device: Device, bytes: Buffer): unknown {
  try {
    return device.vmstate.parse(bytes, device.vmstate.version);
  } catch (error) {
    expect(error).toBeInstanceOf(VmError);
    expect((error as VmError).message).toContain(device.vmstate.name);
    return undefined;
  }
}

describe('the time of a checkpoint', () => {
  const LIMIT = 2n ** 62n - 2n ** 50n;
  /** A checkpoint that was taken at this time. */
  const savedAt = async (ns: bigint): Promise<Buffer> => {
    const board = await wild(3, 200);
    board.vm.clockNs = ns;
    return board.board.devices.save();
  };

  test.each([LIMIT, 2n ** 62n, 2n ** 63n - 1n, 2n ** 63n, 2n ** 64n - 1n])(
    '%d ns is refused before anything is loaded',
    async ns => {
      const blob = await savedAt(ns);
      const board = new FullBoard();
      const before = board.board.devices.save();
      expect(() => board.board.devices.parse(blob)).toThrow(
        /^device state: clock: guest-clock: ns: \d+ is not below/,
      );
      expect(board.board.devices.save().equals(before)).toBe(true);
    },
  );

  test('the last one that is accepted: the VM runs on for a day, and its own state is accepted', async () => {
    const blob = await savedAt(LIMIT - 1n - 10n ** 9n * 86_400n);
    const board = new FullBoard();
    await board.board.devices.pause();
    board.board.devices.parse(blob).apply();
    board.board.devices.resume();
    board.poke(new Random(5), 500);
    board.host.advance(3600_000);
    await board.board.devices.pause();
    board.board.devices.parse(board.board.devices.save());
  });
});

test('a whole blob that was changed anywhere is refused with the section in the sentence', async () => {
  const board = await wild(9);
  const blob = board.board.devices.save();
  const random = new Random(12);
  for (let i = 0; i < 500; i++) {
    const changed = Buffer.from(blob);
    const at = random.below(blob.length);
    changed[at] ^= 1 + random.below(255);
    expect(() => board.board.devices.parse(changed)).toThrow(/^device state: /);
  }
  for (let length = 0; length < blob.length; length += 97)
    expect(() => board.board.devices.parse(blob.subarray(0, length))).toThrow(/^device state: /);
});
