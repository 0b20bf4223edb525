/**
 * Goal: a guest's driver finds an IDE disk as PCs have them, its data is whole by PIO and by DMA,
 * a transfer goes on elsewhere from any point, and no register or table harms anything. Method: the
 * controller on a board without CPUs, commands by port as BIOSes and libata give them. -device
 * 'ide-hd'.
 */
import { beforeEach, describe, expect, test } from '@jest/globals';
import type { DriveState } from '../../src/hw/ide/drive-state.js';
import { settle, TestDisk } from '../support/device-bench.js';
import type { FakeRam } from '../support/fake-ram.js';
import { Ata, IdeBench } from '../support/ide-driver.js';
import { Random } from '../support/random.js';

const READY = 0x50;
let it: IdeBench;
beforeEach(() => {
  it = new IdeBench();
  content.copy(it.disk.data);
});

function noise(to: Buffer, seed: number): void {
  const random = new Random(seed);
  for (let i = 0; i < to.length; i++) to[i] = random.below(256);
}

const content = Buffer.alloc(2048 * 512);
noise(content, 1);

const sector = (n: number, count = 1) => it.disk.data.subarray(512 * n, 512 * (n + count));
const status = () => it.register(7);

test('who is there: signatures, a missing slave, and what the disk says of itself', () => {
  expect([2, 3, 4, 5].map(n => it.register(n))).toEqual([1, 1, 0, 0]);
  expect(status()).toBe(0x40);
  it.bench.vm.out(0x1f6, 0xb0);
  expect([it.register(2), status()]).toEqual([0, 0]);
  it.command(0xec);
  expect([it.level, it.alternate]).toEqual([true, 0x58]);
  const words = it.words(256);
  expect(words.subarray(54, 94).swap16().toString('latin1').trim()).toBe('COLO HARDDISK');
  expect(words.subarray(20, 40).swap16().toString('latin1').trim()).toBe('S1');
  expect([words.readUInt32LE(120), words.readBigUInt64LE(200)]).toEqual([2048, 2048n]);
  expect([status(), it.level]).toEqual([READY, false]);
  it.command(0xa1);
  expect([status(), it.register(1)]).toEqual([0x51, 4]);
  it.control(4);
  expect(status()).toBe(Ata.BUSY);
  it.control(0);
  expect([it.register(3), status()]).toEqual([1, 0x40]);
});

test('on the PCI bus it is function 1 of a PIIX3, with its bus master in ports', () => {
  expect([it.ide.configRead(0, 4), it.ide.configRead(8, 4)]).toEqual([0x7010_8086, 0x0101_8000]);
  expect([it.ide.configRead(0x20, 4), it.busMaster]).toEqual([0xc001, 0xc000]);
  it.ide.configWrite(0x20, 4, 0xffff_ffff);
  expect(it.ide.configRead(0x20, 4)).toBe(0xffff_fff1);
  it.ide.configWrite(0x20, 4, 0xd000);
  expect(it.bench.bus.ports.list().find(range => range.name === 'ide bus master')?.base).toBe(
    0xd000,
  );
  it.ide.configWrite(4, 2, 0);
  expect(it.bench.vm.in(0xd002)).toBe(0xff);
  expect(it.ide.configRead(0x40, 4)).toBe(0x8000_8000);
});

test.each([
  ['READ SECTORS', 0x20, false, 1],
  ['READ SECTORS EXT', 0x24, true, 1],
  ['READ MULTIPLE', 0xc4, false, 16],
  ['READ MULTIPLE EXT', 0x29, true, 16],
])('%s', async (_name, code, wide, block) => {
  it.command(code, { lba: 7, count: 20, wide });
  expect(it.alternate).toBe(Ata.BUSY);
  for (let done = 0; done < 20; done += block) {
    const n = Math.min(block, 20 - done);
    await settle();
    expect([it.level, status()]).toEqual([true, 0x58]);
    expect(it.words(256 * n).equals(sector(7 + done, n))).toBe(true);
  }
  expect([it.level, status()]).toEqual([false, READY]);
});

test.each([
  ['WRITE SECTORS', 0x30, false, 1],
  ['WRITE SECTORS EXT', 0x34, true, 1],
  ['WRITE MULTIPLE', 0xc5, false, 16],
  ['WRITE MULTIPLE FUA EXT', 0xce, true, 16],
])('%s', async (_name, code, wide, block) => {
  const data = Buffer.alloc(20 * 512);
  noise(data, 2);
  it.command(code, { lba: 9, count: 20, wide });
  expect([it.level, status()]).toEqual([false, 0x58]);
  for (let done = 0; done < 20; done += block) {
    it.give(data.subarray(512 * done, 512 * Math.min(done + block, 20)));
    expect(it.alternate).toBe(Ata.BUSY);
    await settle();
    expect([it.level, status()]).toEqual([true, done + block < 20 ? 0x58 : READY]);
  }
  expect(sector(9, 20).equals(data)).toBe(true);
  expect(it.disk.log.every(line => line.endsWith(' fua') === (code === 0xce))).toBe(true);
});

test('DMA: regions of any size, in guest memory, to the disk and back', async () => {
  const { ram } = it.bench.vm;
  it.table(
    [
      [0x10_0002, 510],
      [0x20_0000, 0x10000 - 512],
      [0x30_0000, 300 * 512],
    ].flatMap(([gpa, length]) =>
      length > 0xffff
        ? [
            [gpa, 0],
            [gpa + 0x10000, 0],
            [gpa + 0x20000, length - 0x20000],
          ]
        : [[gpa, length]],
    ) as [number, number][],
  );
  it.command(0x25, { lba: 3, count: 300, wide: true });
  await settle();
  expect([it.level, it.master]).toEqual([false, 0]);
  it.start(true);
  await it.later();
  expect([it.level, it.master, status()]).toEqual([true, 4, READY]);
  const read = Buffer.concat([
    ram.read(0x10_0002, 510)!,
    ram.read(0x20_0000, 0x10000 - 512)!,
    ram.read(0x30_0000, 300 * 512 - 510 - 0x10000 + 512)!,
  ]);
  expect(read.equals(sector(3, 300))).toBe(true);
  it.bench.vm.out(it.busMaster, 0);
  it.bench.vm.out(it.busMaster + 2, 6);
  expect(it.master).toBe(0);
  it.table([[0x10_0000, 4096]]);
  it.command(0xca, { lba: 100, count: 8 });
  it.start(false);
  await it.later();
  expect([it.master, status()]).toEqual([4, READY]);
  expect(sector(100, 8).equals(ram.read(0x10_0000, 4096)!)).toBe(true);
});

test('a table that is too short, and one that is not in memory', async () => {
  it.table([[0x10_0000, 512]]);
  it.command(0xc8, { count: 2 });
  it.start(true);
  await it.later();
  expect([it.level, it.master, status()]).toEqual([false, 0, READY]);
  it.bench.vm.out(it.busMaster, 0);
  it.table([[0x7000_0000, 512]]);
  it.command(0xc8, { count: 1 });
  it.start(true);
  await it.later();
  expect([it.level, it.master, status(), it.register(1)]).toEqual([true, 6, 0x51, 4]);
});

test('a cache that is switched off: each write is on the medium', async () => {
  it.command(0xef, { feature: 0x82 });
  await settle();
  expect([it.level, status(), it.disk.log]).toEqual([true, READY, ['flush']]);
  it.command(0x30, { count: 1 });
  it.give(Buffer.alloc(512));
  await settle();
  expect(it.disk.log.at(-1)).toBe('write 0 512 fua');
  it.command(0xe7);
  expect(it.alternate).toBe(Ata.BUSY);
  await settle();
  expect([it.disk.log.at(-1), status()]).toEqual(['flush', READY]);
});

test.each([
  ['behind the end', 0x20, { lba: 2047, count: 2 }, 0x10],
  ['far behind it', 0x24, { lba: 2 ** 47, count: 1, wide: true }, 0x10],
  ['SMART', 0xb0, {}, 4],
  ['DEVICE RESET', 0x08, {}, 4],
  ['a mode that there is not', 0xef, { feature: 3, count: 0x67 }, 4],
  ['blocks of three', 0xc6, { count: 3 }, 4],
])('refused: %s', (_what, code, registers, error) => {
  it.command(code, registers);
  expect([it.level, status(), it.register(1)]).toEqual([true, 0x51, error]);
});

describe('a disk that fails', () => {
  test('report: the guest hears of it, and where it was', async () => {
    it.disk.broken = true;
    it.command(0x20, { lba: 0x123, count: 1 });
    await settle();
    expect([status(), it.register(1), it.register(3), it.register(4)]).toEqual([
      0x51, 0x40, 0x23, 0x01,
    ]);
  });

  test('stop: the request waits, here or elsewhere, and is tried again', async () => {
    it.disk.broken = true;
    it.disk.action = 'stop';
    it.command(0x30, { lba: 5, count: 1 });
    it.give(Buffer.alloc(512, 0x77));
    await settle();
    expect([it.level, it.alternate]).toEqual([false, Ata.BUSY]);
    const other = await carried();
    other.disk.broken = false;
    other.drive.resume();
    await settle();
    expect([other.level, other.register(7)]).toEqual([true, READY]);
    expect(other.disk.data.subarray(512 * 5, 512 * 6).every(byte => byte === 0x77)).toBe(true);
  });
});

/** Another board, stopped, with the state and the memory of this one. */
async function carried(): Promise<IdeBench> {
  await it.drive.pause();
  const other = new IdeBench(new TestDisk(2048));
  await other.drive.pause();
  it.disk.data.copy(other.disk.data);
  other.bench.vm.ram.write(0, it.bench.vm.ram.read(0, it.bench.vm.ram.size)!);
  for (const name of ['ide', 'drive'] as const) {
    const [from, to] = [it[name], other[name]];
    to.state = to.vmstate.parse(
      from.vmstate.save(from.state as never),
      to.vmstate.version,
    ) as never;
    to.afterLoad();
  }
  return other;
}

test('a checkpoint in the middle of a read by PIO, and of one by DMA', async () => {
  it.command(0x20, { lba: 30, count: 2 });
  await settle();
  const first = it.words(100);
  let there = await carried();
  there.drive.resume();
  expect([there.level, there.alternate]).toEqual([true, 0x58]);
  const rest = [there.words(156), (await settle(), there.words(256))];
  expect(Buffer.concat([first, ...rest]).equals(sector(30, 2))).toBe(true);

  it.drive.resume();
  it.control(4);
  it.control(0);
  it.disk.held = [];
  it.table([
    [0x10_0000, 0],
    [0x11_0000, 0],
    [0x12_0000, 0],
    [0x13_0000, 0],
  ]);
  it.command(0x25, { lba: 0, count: 512, wide: true });
  it.start(true);
  await settle();
  const moved = carried();
  it.disk.release();
  there = await moved;
  expect(it.disk.log.filter(line => line.startsWith('read')).at(-1)).toBe('read 0 131072');
  expect([there.level, there.alternate, there.master & 1]).toEqual([false, Ata.BUSY, 1]);
  there.drive.resume();
  await there.later();
  expect([there.level, there.master]).toEqual([true, 4]);
  expect(there.bench.vm.ram.read(0x10_0000, 512 * 512)!.equals(sector(0, 512))).toBe(true);
});

test('a reset while the disk has a request: busy until it is answered', async () => {
  it.disk.held = [];
  it.command(0x30, { lba: 1, count: 1 });
  it.give(Buffer.alloc(512, 9));
  it.control(4);
  it.control(0);
  expect(it.alternate).toBe(Ata.BUSY);
  it.command(0xec);
  expect(it.alternate).toBe(Ata.BUSY);
  it.disk.release();
  await settle();
  expect([it.level, it.alternate]).toEqual([false, 0x40]);
});

test('one turn of the main loop moves no more than its share', async () => {
  it = new IdeBench(new TestDisk(65536));
  it.table(Array.from({ length: 512 }, () => [0x10_0000, 0]));
  it.command(0x25, { count: 65536, wide: true });
  const { writes } = it.bench.vm.ram as FakeRam;
  writes.length = 0;
  it.start(true);
  await settle();
  const moved = () => writes.reduce((sum, { length }) => sum + length, 0);
  expect(moved()).toBeGreaterThan(0);
  expect(moved()).toBeLessThanOrEqual(17 << 20);
  expect([it.level, it.alternate, it.master]).toEqual([false, Ata.BUSY, 1]);
  for (let n = 0; n < 4; n++) await it.later();
  expect([moved(), it.master, it.register(7)]).toEqual([32 << 20, 4, READY]);
});

test('a pause while an answer is on its way waits until it has come', async () => {
  for (let n = 0; n < 12; n++) {
    it = new IdeBench();
    it.disk.held = [];
    it.command(0x20, { count: 1 });
    it.disk.release();
    for (let i = 0; i < n; i++) await Promise.resolve();
    await it.drive.pause();
    const paused = it.drive.vmstate.save(it.drive.state);
    await settle();
    expect([n, it.drive.vmstate.save(it.drive.state).equals(paused)]).toEqual([n, true]);
  }
});

describe('a state of elsewhere', () => {
  const parsed = (changes: Partial<DriveState>) => {
    const { vmstate, state } = it.drive;
    return vmstate.parse(vmstate.save({ ...state, ...changes }), vmstate.version);
  };

  test.each<[string, Partial<DriveState>, string]>([
    ['busy, and idle', { status: 0x80 }, 'status 128: busy without a command'],
    ['DRQ, and idle', { status: 0x58, buffer: Buffer.alloc(512), blockEnd: 512 }, 'status 88'],
    ['DRQ of DMA', { status: 0x58, phase: 'in', dma: true, blockEnd: 512 }, 'status 88: a block'],
    ['DRQ at the end', { status: 0x58, phase: 'out', at: 512, blockEnd: 512 }, 'status 88'],
    ['DRQ without a block', { status: 0x58, phase: 'in' }, 'status 88'],
    ['packets', { status: 0x80, phase: 'packet' }, 'ide-hd: a disk takes no packets'],
  ])('that a disk never leaves is refused: %s', (_what, changes, sentence) => {
    expect(() => parsed({ buffer: Buffer.alloc(512), ...changes })).toThrow(sentence);
  });

  test('of each step of a command is taken, and of one that a reset forgot', async () => {
    it.command(0x30, { count: 2 });
    expect(parsed({}).status).toBe(0x58);
    it.disk.held = [];
    it.give(Buffer.alloc(512));
    expect([parsed({}).status, parsed({}).phase]).toEqual([Ata.BUSY, 'out']);
    it.control(4);
    it.control(0);
    expect([it.alternate, parsed({}).status]).toEqual([Ata.BUSY, Ata.READY]);
    it.disk.release();
    await settle();
    it.command(0x90);
    expect(parsed({}).status).toBe(Ata.READY);
    it.command(0xec);
    expect(parsed({}).phase).toBe('in');
  });
});

test.each([1, 2, 3, 4, 5, 6])('seed %i: whatever the guest does, nothing throws', async seed => {
  const random = new Random(seed);
  const { vm } = it.bench;
  const commands = [0x20, 0x25, 0x30, 0x35, 0xc4, 0xc5, 0xc8, 0xca, 0xec, 0xef, 0xe7, 0x91, 0x90];
  for (let n = 0; n < 400; n++) {
    const code =
      random.below(3) === 0 ? random.below(256) : commands[random.below(commands.length)];
    const wild = random.below(3) === 0;
    it.command(code, {
      lba: random.below(wild ? 2 ** 31 : 2060),
      count: random.below(wild ? 65536 : 300),
      feature: random.below(256),
      wide: random.below(2) === 0,
      unit: random.below(8) === 0 ? 1 : 0,
    });
    it.table(
      Array.from({ length: 1 + random.below(6) }, () => [
        random.below(8) === 0 ? random.below(2 ** 32) : random.below(vm.ram.size),
        random.below(0x10000),
      ]),
    );
    vm.out(it.busMaster, random.below(256));
    for (let i = 0; i < 300; i++) {
      const port = 0x1f0 + random.below(8);
      const dice = random.below(100);
      if (dice < 50) vm.in(0x1f0, 1 << random.below(3));
      else if (dice < 88) vm.out(0x1f0, random.below(65536), 2);
      else if (dice < 98) vm.in(port, 1 << random.below(3));
      else vm.out(0x3f6, random.below(256));
    }
    if (random.below(4) === 0) await it.later();
    if (random.below(20) === 0) {
      await it.drive.pause();
      it.drive.vmstate.parse(it.drive.vmstate.save(it.drive.state as never), 1);
      it.drive.resume();
    }
  }
  expect(it.disk.data).toHaveLength(2048 * 512);
  it.control(4);
  it.control(0);
  await it.later();
  it.command(0xec);
  expect(it.words(256).readUInt32LE(120)).toBe(2048);
});
