/** What holds for every device: reset is fresh, state goes out and back unchanged, a paused device does nothing, no access and no bytes make it throw. */
import { describe, expect, test } from '@jest/globals';
import { VmError } from '../../src/base/errors.js';
import type { Device } from '../../src/hw/device.js';
import { settle } from '../support/device-bench.js';
import { FullBoard } from '../support/full-board.js';
import { Random } from '../support/random.js';

const SEEDS = [1, 2, 3, 4, 5];
const ids = new FullBoard().devices.map(device => device.id);
const saved = (board: FullBoard) => new Map(board.devices.map(d => [d.id, (d.beforeSave(), d.vmstate.save(d.state))]));
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

test('every device of the board is here', () => {
  expect(ids).toEqual(['pci-host', 'rtc', 'i8042', 'port92', 'acpi-pm', 'serial0', 'serial1', 'blk0', 'net-pci0', 'exit0']);
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
      const kept = (device.constructor as { batteryBacked?: readonly string[] }).batteryBacked ?? [];
      const state = { ...(device.state as Record<string, unknown>) };
      for (const name of kept) state[name] = (device.vmstate.reset() as Record<string, unknown>)[name];
      expect([device.id, device.vmstate.save(state).toString('hex')]).toEqual([device.id, fresh.get(device.id)!.toString('hex')]);
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
    const seen = () => [board.vm.messages.length, JSON.stringify([...board.vm.levels]), board.chr.written.length, board.net.sent.length, board.disk.log.length, board.vm.ram.hash()];
    const was = seen();
    await board.board.devices.pause();
    expect(board.host.armed).toBe(0);
    board.net.arrive(Buffer.alloc(100, 0xff));
    board.net.drain();
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
    expect(() => vmstate.parse(Buffer.concat([bytes, Buffer.alloc(1)]), vmstate.version)).toThrow(vmstate.name);
    expect(() => vmstate.parse(bytes, vmstate.version + 1)).toThrow('newer');
  });

  test('changed bytes are refused by name, or make a state that the device lives with', async () => {
    const random = new Random(11);
    const board = await wild(8, 500);
    const bytes = saved(board).get(id)!;
    const device = find(board, id);
    for (let i = 0; i < 300; i++) {
      const changed = Buffer.from(bytes);
      for (let n = 0; n <= random.below(4) && changed.length > 0; n++) changed[random.below(changed.length)] = random.below(3) === 0 ? 0xff : random.below(256);
      let state: unknown;
      try {
        state = device.vmstate.parse(changed, device.vmstate.version);
      } catch (error) {
        expect(error).toBeInstanceOf(VmError);
        expect((error as VmError).message).toContain(device.vmstate.name);
        continue;
      }
      device.state = state;
      device.afterLoad();
      device.resume();
      board.poke(random, 50);
      await device.pause();
    }
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
  for (let length = 0; length < blob.length; length += 97) expect(() => board.board.devices.parse(blob.subarray(0, length))).toThrow(/^device state: /);
});
