/**
 * Goal: a guest's driver finds a CD-ROM drive as PCs have them, reads its medium by PIO and by DMA,
 * hears of each change of it, and no packet, register or image harms anything. Method: the
 * controller on a board without CPUs, packets by port as BIOSes and libata give them. -device
 * 'ide-cd'.
 */
import { beforeEach, describe, expect, test } from '@jest/globals';
import { AtapiCd, atapiCdState } from '../../src/hw/ide/atapi-cd.js';
import type { StateOf } from '../../src/hw/device.js';
import { settle, TestDisk } from '../support/device-bench.js';
import { Ata, IdeBench } from '../support/ide-driver.js';
import { Random } from '../support/random.js';

const READY = 0x50;
const FAILED = 0x51;
const BLOCKS = 300;
const TEST_READY = [0x00];
const EJECT = [0x1b, 0, 0, 0, 2];
const LOAD = [0x1b, 0, 0, 0, 3];
const LOCK = [0x1e, 0, 0, 0, 1];
const UNLOCK = [0x1e, 0, 0, 0, 0];
const EVENT = [0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8];

function medium(sectors = BLOCKS * 4): TestDisk {
  const disk = new TestDisk(sectors, true);
  const random = new Random(3);
  for (let i = 0; i < disk.data.length; i++) disk.data[i] = random.below(256);
  return disk;
}
const content = medium();

function drive(disk = medium()): IdeBench {
  return new IdeBench(disk, (port, { clock }) => new AtapiCd('cd', disk, port, clock, 'S1'));
}

let it: IdeBench;
beforeEach(() => {
  it = drive(content);
  content.hasMedium = true;
  content.broken = false;
  content.log.length = content.trayMoves.length = 0;
});

const blocks = (first: number, count: number, of = it.disk) =>
  of.data.subarray(2048 * first, 2048 * (first + count));
const read10 = (lba: number, count: number) => [
  ...[0x28, 0, lba >>> 24, (lba >> 16) & 0xff, (lba >> 8) & 0xff, lba & 0xff],
  ...[0, count >> 8, count & 0xff],
];
const reason = () => it.register(2);

/** What is left of an answer by PIO, and where its blocks ended. */
async function rest(from = it): Promise<{ bytes: Buffer; sizes: number[] }> {
  const parts: Buffer[] = [];
  for (;;) {
    await settle();
    if ((from.register(7) & Ata.DRQ) === 0) break;
    const size = from.register(4) + 256 * from.register(5);
    expect([from.register(2), size > 0]).toEqual([2, true]);
    parts.push(from.words(Math.ceil(size / 2)).subarray(0, size));
  }
  return { bytes: Buffer.concat(parts), sizes: parts.map(({ length }) => length) };
}

async function reply(packet: readonly number[], limit = 0xfffe): Promise<Buffer> {
  it.packet(packet, { limit });
  const { bytes } = await rest();
  expect([it.register(7), reason()]).toEqual([READY, 3]);
  return bytes;
}

/** Why a packet failed. */
async function failure(packet: readonly number[]): Promise<readonly number[]> {
  it.packet(packet);
  await settle();
  expect([it.level, it.register(7), reason()]).toEqual([true, FAILED, 3]);
  const error = it.register(1);
  const sense = await reply([3, 0, 0, 0, 18]);
  expect([sense[0], error]).toEqual([0x70, sense[2] << 4]);
  return [sense[2], sense[12], sense[13]];
}

test('who is there: a signature of its own, and what it says of itself', () => {
  expect([2, 3, 4, 5, 7].map(n => it.register(n))).toEqual([1, 1, 0x14, 0xeb, 0]);
  for (const code of [0xec, 0x20]) {
    it.command(code, { lba: 0x123456 });
    expect([it.level, it.register(7), it.register(1)]).toEqual([true, FAILED, 4]);
    expect([3, 4, 5].map(n => it.register(n))).toEqual([1, 0x14, 0xeb]);
  }
  it.command(0xa1);
  expect([it.level, it.register(7)]).toEqual([true, 0x58]);
  const words = it.words(256);
  expect([it.level, it.register(7)]).toEqual([false, READY]);
  expect(words.readUInt16LE(0)).toBe(0x85c0);
  expect(words.subarray(54, 94).swap16().toString('latin1').trim()).toBe('COLO DVD-ROM');
});

test.each([
  ['a mode', 0xef, { feature: 3, count: 0x45 }, READY],
  ['a mode that there is not', 0xef, { feature: 3, count: 0x67 }, FAILED],
  ['CHECK POWER MODE', 0xe5, {}, READY],
  ['STANDBY', 0xe0, {}, READY],
  ['READ DMA', 0xc8, {}, FAILED],
  ['an overlapped packet', 0xa0, { feature: 2 }, FAILED],
])('ATA: %s', (_what, code, registers, status) => {
  it.command(code, registers);
  expect([it.level, it.register(7)]).toEqual([true, status]);
  if (code === 0xe5) expect(reason()).toBe(0xff);
});

test('DEVICE RESET is taken in the middle of anything', async () => {
  it.packet(read10(0, 2));
  await settle();
  expect(it.alternate & Ata.DRQ).toBe(Ata.DRQ);
  it.command(0x08);
  expect([it.level, it.alternate, it.register(1)]).toEqual([false, 0, 1]);
  expect([2, 3, 4, 5].map(n => it.register(n))).toEqual([1, 1, 0x14, 0xeb]);
  expect(await reply(TEST_READY)).toHaveLength(0);
});

test('a packet is asked for at once; its answer comes in blocks of the limit', async () => {
  it.command(0xa0, { lba: 11 * 256 });
  expect([it.level, it.alternate, reason()]).toEqual([false, 0x58, 1]);
  it.give(Buffer.from([0x12, 0, 0, 0, 36, 0, 0, 0, 0, 0, 0, 0]));
  expect(it.level).toBe(true);
  const { bytes, sizes } = await rest();
  expect(sizes).toEqual([10, 10, 10, 6]);
  expect(bytes.toString('latin1', 8)).toBe('COLO    COLO DVD-ROM    1.0 ');
  expect([...bytes.subarray(0, 2)]).toEqual([5, 0x80]);
  expect(await reply([0x12, 0, 0, 0, 5])).toHaveLength(5);
  expect(await reply([0x12, 0, 0, 0, 0])).toHaveLength(0);
});

test('a limit of zero: fine without data, aborted with', async () => {
  expect(await reply(TEST_READY, 0)).toHaveLength(0);
  for (const limit of [0, 1]) {
    it.packet(read10(0, 1), { limit });
    await settle();
    expect([it.register(7), it.register(1)]).toEqual([FAILED, 4]);
  }
});

test.each([
  ['READ(10)', read10(5, 150), 5, 150],
  ['READ(12)', [0xa8, 0, 0, 0, 0, 7, 0, 0, 0, 99], 7, 99],
])('%s by PIO and by DMA', async (_name, packet, first, count) => {
  expect((await reply(packet, 2048)).equals(blocks(first, count))).toBe(true);
  expect((await reply(packet)).equals(blocks(first, count))).toBe(true);
  it.table(Array.from({ length: 5 }, (_, n) => [0x10_0000 + n * 0x10000, 0]));
  it.packet(packet, { dma: true });
  await settle();
  it.start(true);
  await it.later();
  expect([it.level, it.master & 6, it.register(7), reason()]).toEqual([true, 4, READY, 3]);
  const there = it.bench.vm.ram.read(0x10_0000, count * 2048)!;
  expect(there.equals(blocks(first, count))).toBe(true);
});

test('DMA into memory that is not there ends the packet', async () => {
  it.table([[0x7000_0000, 4096]]);
  it.packet(read10(0, 2), { dma: true });
  it.start(true);
  await it.later();
  expect([it.level, it.master & 7, it.register(7)]).toEqual([true, 6, FAILED]);
});

test('an image that ends within a block: zeroes stand behind its end', async () => {
  it = drive(medium(5));
  expect([...(await reply([0x25]))]).toEqual([0, 0, 0, 1, 0, 0, 8, 0]);
  const all = await reply(read10(0, 2));
  expect(all.subarray(0, 2560).equals(it.disk.data)).toBe(true);
  expect(all.subarray(2560).equals(Buffer.alloc(1536))).toBe(true);
  expect(it.disk.log).toEqual(['read 0 2560']);
});

test.each([
  ['behind the end', read10(BLOCKS - 1, 2), [5, 0x21, 0]],
  ['far behind it', [0xa8, 0, 255, 255, 255, 255, 255, 255, 255, 255], [5, 0x21, 0]],
  ['a command of disks', [0x2a], [5, 0x20, 0]],
  ['MODE SENSE(6)', [0x1a], [5, 0x20, 0]],
  ['vital product data', [0x12, 1, 0, 0, 36], [5, 0x24, 0]],
  ['a table of contents that there is not', [0x43, 0, 5, 0, 0, 0, 0, 0, 20], [5, 0x24, 0]],
  ['a track that there is not', [0x43, 0, 0, 0, 0, 0, 2, 0, 20], [5, 0x24, 0]],
  ['a page that there is not', [0x5a, 0, 0x0d, 0, 0, 0, 0, 0, 255], [5, 0x24, 0]],
  ['saved pages', [0x5a, 0, 0xea, 0, 0, 0, 0, 0, 255], [5, 0x39, 0]],
  ['events without being asked', [0x4a, 0, 0, 0, 0x10, 0, 0, 0, 8], [5, 0x24, 0]],
])('refused: %s', async (_what, packet, sense) => {
  expect(await failure(packet)).toEqual(sense);
  expect([...(await reply([3, 0, 0, 0, 18]))].slice(0, 3)).toEqual([0x70, 0, 0]);
});

describe('what it tells of its medium', () => {
  const toc = (format: number, msf = 0) => [0x43, msf, format, 0, 0, 0, 0, 0, 255];

  test('tables of contents', async () => {
    const leadOut = [0, 0, BLOCKS >> 8, BLOCKS & 0xff];
    expect([...(await reply(toc(0)))]).toEqual([
      ...[0, 18, 1, 1],
      ...[0, 0x14, 1, 0, 0, 0, 0, 0],
      ...[0, 0x14, 0xaa, 0, ...leadOut],
    ]);
    expect([...(await reply(toc(0, 2)))].slice(8)).toEqual([
      ...[0, 0, 2, 0],
      ...[0, 0x14, 0xaa, 0, 0, 0, 6, 0],
    ]);
    expect([...(await reply(toc(1)))]).toEqual([0, 10, 1, 1, 0, 0x14, 1, 0, 0, 0, 0, 0]);
    // The older document has the format in the last byte.
    expect(await reply([0x43, 0, 0, 0, 0, 0, 0, 0, 255, 0x40])).toHaveLength(12);
    const raw = await reply(toc(2));
    expect([raw.length, raw.readUInt16BE(0)]).toEqual([48, 46]);
    expect([7, 18, 29, 40].map(at => raw[at])).toEqual([0xa0, 0xa1, 0xa2, 1]);
    expect([...raw.subarray(34, 37)]).toEqual([0, 6, 0]);
  });

  test('capabilities, features, disc and mechanism', async () => {
    const page = await reply([0x5a, 0, 0x2a, 0, 0, 0, 0, 0, 255]);
    expect([page.length, page.readUInt16BE(0), page[2], page[8]]).toEqual([28, 26, 1, 0x2a]);
    expect(page[14]).toBe(0x29);
    await reply(LOCK);
    expect((await reply([0x5a, 0, 0x3f, 0, 0, 0, 0, 0, 255]))[22]).toBe(0x2b);
    const features = await reply([0x46, 0, 0, 0, 0, 0, 0, 0, 255]);
    expect([features.readUInt32BE(0), features.readUInt16BE(6)]).toEqual([features.length - 4, 8]);
    const one = await reply([0x46, 2, 0, 3, 0, 0, 0, 0, 255]);
    expect([...one.subarray(8)]).toEqual([0, 3, 3, 4, 0x29, 0, 0, 0]);
    expect((await reply([0x51, 0, 0, 0, 0, 0, 0, 0, 255])).readUInt16BE(0)).toBe(32);
    expect(await reply([0xbd, 0, 0, 0, 0, 0, 0, 0, 0, 8])).toEqual(Buffer.alloc(8));
    expect([...(await reply([0x4a, 1, 0, 0, 0x02, 0, 0, 0, 8]))]).toEqual([0, 2, 0x80, 0x10]);
  });

  test('nothing where there is none', async () => {
    content.hasMedium = false;
    const asked = [TEST_READY, [0x25], read10(0, 1), toc(0), [0x51, 0, 0, 0, 0, 0, 0, 0, 34]];
    for (const packet of asked) expect(await failure(packet)).toEqual([2, 0x3a, 0]);
    expect((await reply([0x5a, 0, 0x2a, 0, 0, 0, 0, 0, 255]))[2]).toBe(0x70);
    expect((await reply([0x46, 1, 0, 0, 0, 0, 0, 0, 255])).readUInt16BE(6)).toBe(0);
    expect([...(await reply(EVENT))].slice(4, 6)).toEqual([0, 0]);
  });
});

describe('the tray', () => {
  test('the user changes the medium: the guest hears of it once', async () => {
    const tray = content.tray!;
    tray.move(true);
    expect(await failure(TEST_READY)).toEqual([2, 0x3a, 2]);
    expect([...(await reply(EVENT))]).toEqual([0, 6, 4, 0x10, 3, 1, 0, 0]);
    content.hasMedium = false;
    tray.move(false);
    expect(await failure(TEST_READY)).toEqual([2, 0x3a, 0]);
    tray.move(true);
    content.hasMedium = true;
    tray.move(false);
    expect(await reply([0x12, 0, 0, 0, 36])).toHaveLength(36);
    // There is no room for the event, so it stays.
    expect(await reply([...EVENT.slice(0, 8), 4])).toHaveLength(4);
    expect([...(await reply(EVENT))].slice(4, 6)).toEqual([2, 2]);
    expect([...(await reply(EVENT))].slice(4, 6)).toEqual([0, 2]);
    expect(await failure(TEST_READY)).toEqual([6, 0x28, 0]);
    expect(await reply(TEST_READY)).toHaveLength(0);
    expect(content.trayMoves).toEqual([true, false, true, false]);
  });

  test('REQUEST SENSE tells of the change, too', async () => {
    content.tray!.move(true);
    content.tray!.move(false);
    expect([...(await reply([3, 0, 0, 0, 18]))].slice(0, 13)).toEqual([
      ...[0x70, 0, 6, 0, 0, 0, 0, 10],
      ...[0, 0, 0, 0, 0x28],
    ]);
    expect(await reply(TEST_READY)).toHaveLength(0);
  });

  test('a guest that has locked it is asked, and decides', async () => {
    const tray = content.tray!;
    await reply(LOCK);
    expect([tray.locked, tray.open]).toEqual([true, false]);
    expect(await failure(EJECT)).toEqual([5, 0x53, 2]);
    tray.askToOpen();
    expect([...(await reply(EVENT))].slice(4, 6)).toEqual([1, 2]);
    await reply(UNLOCK);
    await reply(EJECT);
    await reply(EJECT);
    expect([tray.locked, tray.open, content.trayMoves]).toEqual([false, true, [true]]);
    await reply(LOAD);
    expect([tray.open, content.trayMoves]).toEqual([false, [true, false]]);
    expect(await failure(read10(0, 1))).toEqual([6, 0x28, 0]);
  });

  test('a reset unlocks it, and leaves it where it is', async () => {
    await reply(LOCK);
    content.tray!.move(true);
    it.drive.reset();
    expect([content.tray!.locked, content.tray!.open]).toEqual([false, true]);
  });

  test.each([
    ['is gone', [true], [2, 0x3a, 2]],
    ['is another one', [true, false], [6, 0x28, 0]],
  ])('what is read ends where the medium %s', async (_what, moves, sense) => {
    it.packet(read10(0, 200), { limit: 32768 });
    await settle();
    for (let n = 0; n < 3; n++) {
      expect(it.register(7)).toBe(0x58);
      it.words(16384);
    }
    for (const open of moves) content.tray!.move(open);
    it.words(16384);
    await settle();
    expect([it.register(7), it.register(1)]).toEqual([FAILED, sense[0] << 4]);
    const told = await reply([3, 0, 0, 0, 18]);
    expect([told[2], told[12], told[13]]).toEqual(sense);
  });
});

test('a medium that cannot be read', async () => {
  content.broken = true;
  expect(await failure(read10(0, 1))).toEqual([3, 0x11, 0]);
});

/** Another board, stopped, with the state and the memory of this one. */
async function carried(): Promise<IdeBench> {
  await it.drive.pause();
  const other = drive();
  await other.drive.pause();
  other.bench.vm.ram.write(0, it.bench.vm.ram.read(0, it.bench.vm.ram.size)!);
  for (const name of ['ide', 'drive'] as const) {
    const [from, to] = [it[name], other[name]];
    const bytes = from.vmstate.save(from.state as never);
    to.state = to.vmstate.parse(bytes, to.vmstate.version) as never;
    to.afterLoad();
  }
  return other;
}

test('a checkpoint in the middle of a packet, of its answer, and of one by DMA', async () => {
  it.command(0xa0, { lba: 2048 * 256 });
  const packet = Buffer.alloc(12);
  packet.set(read10(9, 3));
  it.give(packet.subarray(0, 6));
  it = await carried();
  it.drive.resume();
  it.give(packet.subarray(6));
  await settle();
  const first = it.words(500);
  it = await carried();
  it.drive.resume();
  expect([it.level, it.alternate, reason()]).toEqual([true, 0x58, 2]);
  const second = it.words(524);
  expect(Buffer.concat([first, second, (await rest()).bytes]).equals(blocks(9, 3))).toBe(true);
  it.table([
    [0x10_0000, 0],
    [0x11_0000, 0],
    [0x12_0000, 0],
  ]);
  it.packet(read10(1, 70), { dma: true });
  await settle();
  it.start(true);
  it = await carried();
  it.drive.resume();
  await it.later();
  expect([it.level, it.master & 6, it.register(7)]).toEqual([true, 4, READY]);
  expect(it.bench.vm.ram.read(0x10_0000, 70 * 2048)!.equals(blocks(1, 70))).toBe(true);
});

test('tray, lock, sense and news are part of a checkpoint', async () => {
  await reply(LOCK);
  it.packet([0xff]);
  await settle();
  content.tray!.move(true);
  content.tray!.move(false);
  it = await carried();
  it.drive.resume();
  expect(it.disk.tray!.locked).toBe(true);
  expect((await reply([3, 0, 0, 0, 18])).subarray(2, 3)).toEqual(Buffer.of(5));
  expect(await failure(TEST_READY)).toEqual([6, 0x28, 0]);
  expect([...(await reply(EVENT))].slice(4, 6)).toEqual([2, 2]);
});

test.each<[string, Partial<StateOf<typeof atapiCdState>>, string]>([
  ['that gives data', { phase: 'out', status: 0x80 }, 'ide-cd: a CD-ROM takes no data'],
  ['that waits for its medium', { phase: 'flush', status: 0x80 }, 'ide-cd: a CD-ROM takes no data'],
  ['with a packet too long', { phase: 'packet', status: 0x80 }, 'a packet of 512 bytes'],
])('a state of elsewhere %s is refused', (_what, changes, sentence) => {
  const state = { ...atapiCdState.reset(), buffer: Buffer.alloc(512), ...changes };
  expect(() => atapiCdState.parse(atapiCdState.save(state), 1)).toThrow(sentence);
});

test.each([1, 2, 3, 4, 5, 6])('seed %i: whatever the guest does, nothing throws', async seed => {
  const random = new Random(seed);
  const { vm } = it.bench;
  const known = [0, 3, 0x12, 0x1b, 0x1e, 0x25, 0x28, 0x43, 0x46, 0x4a, 0x51, 0x5a, 0xa8, 0xbd];
  for (let n = 0; n < 300; n++) {
    it.table(
      Array.from({ length: 1 + random.below(6) }, () => [
        random.below(8) === 0 ? random.below(2 ** 32) : random.below(vm.ram.size),
        random.below(0x10000),
      ]),
    );
    if (random.below(6) === 0) it.command(random.below(256), { lba: random.below(2 ** 28) });
    const packet = Array.from({ length: 12 }, () =>
      random.below(2) === 0 ? 0 : random.below(256),
    );
    if (random.below(8) > 0) packet[0] = known[random.below(known.length)];
    it.packet(packet, { dma: random.below(2) === 0, limit: random.below(65536) });
    vm.out(it.busMaster, random.below(256));
    for (let i = 0; i < 200; i++) {
      const dice = random.below(100);
      if (dice < 60) vm.in(0x1f0, 1 << random.below(3));
      else if (dice < 80) vm.out(0x1f0, random.below(65536), 2);
      else if (dice < 98) vm.in(0x1f0 + random.below(8), 1 << random.below(3));
      else vm.out(0x3f6, random.below(256));
    }
    content.hasMedium = random.below(4) > 0;
    if (random.below(8) === 0) content.tray!.move(random.below(2) === 0);
    if (random.below(4) === 0) await it.later();
    if (random.below(20) === 0) {
      await it.drive.pause();
      it.drive.vmstate.parse(it.drive.vmstate.save(it.drive.state as never), 1);
      it.drive.resume();
    }
  }
  expect(it.drive.failure).toBeUndefined();
  content.hasMedium = true;
  content.tray!.move(false);
  it.control(4);
  it.control(0);
  await it.later();
  // The first tells of the last failure, the second of the change.
  for (let n = 0; n < 2; n++) await reply([3, 0, 0, 0, 18]);
  it.packet(TEST_READY);
  expect(it.register(7)).toBe(READY);
});
