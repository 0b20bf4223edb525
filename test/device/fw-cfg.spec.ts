/**
 * Goal: firmware finds its items and files, by bytes and by DMA, and no transfer of a guest leaves
 * RAM or keeps the main loop busy. Method: the device on a board without CPUs; the test is the
 * firmware.
 */
import { beforeEach, describe, expect, jest, test } from '@jest/globals';
import { FwCfg, FwCfgKey } from '../../src/hw/firmware/fw-cfg.js';
import { Bench } from '../support/device-bench.js';
import { FullBoard } from '../support/full-board.js';

const Dma = { ERROR: 1, READ: 2, SKIP: 4, SELECT: 8, WRITE: 16 } as const;
const HEADER = 0x1000;
const TARGET = 0x2000;

let bench: Bench;
let device: FwCfg;
beforeEach(() => {
  bench = new Bench();
  device = new FwCfg('fw_cfg', bench.vm.ram);
  device.attach(bench.bus.ports);
  device.file('etc/b', Buffer.from('second'));
  device.file('etc/a', Buffer.from('first'));
  device.reset();
});

const select = (key: number) => bench.vm.out(0x510, key, 2);
const bytes = (n: number) => Buffer.from(Array.from({ length: n }, () => bench.vm.in(0x511)));

/** Returns the result that the device leaves; undefined: nothing was touched. */
function dma(control: number, length: number, to = TARGET, header = HEADER): number | undefined {
  const b = Buffer.alloc(16);
  b.writeUInt32BE(control, 0);
  b.writeUInt32BE(length, 4);
  b.writeBigUInt64BE(BigInt(to), 8);
  bench.vm.ram.write(header, b);
  const half = Buffer.alloc(8);
  half.writeBigUInt64BE(BigInt(header));
  bench.vm.out(0x514, half.readUInt32LE(0), 4);
  bench.vm.out(0x518, half.readUInt32LE(4), 4);
  return bench.vm.ram.read(header, 4)?.readUInt32BE();
}
const selected = (key: number, control: number) => (key << 16) + control + Dma.SELECT;

test('items by bytes: each from its beginning, zeroes behind its end and where there is none', () => {
  select(FwCfgKey.SIGNATURE);
  expect(bytes(6).toString('latin1')).toBe('QEMU\0\0');
  select(FwCfgKey.ID);
  expect(bytes(4).readUInt32LE()).toBe(3);
  select(0x7777);
  expect(bytes(4)).toEqual(Buffer.alloc(4));
  expect(bench.vm.in(0x514, 4)).toBe(0x554d4551); // 'QEMU', as memory has it
  expect(bench.vm.in(0x518, 4)).toBe(0x47464320); // ' CFG'
});

test('files are in the directory, by name', () => {
  select(FwCfgKey.FILE_DIR);
  expect(bytes(4).readUInt32BE()).toBe(2);
  const entry = bytes(64);
  expect([entry.readUInt32BE(0), entry.readUInt16BE(4)]).toEqual([5, FwCfgKey.FILE_FIRST]);
  expect(entry.toString('latin1', 8, 14)).toBe('etc/a\0');
  expect(bytes(64).toString('latin1', 8, 14)).toBe('etc/b\0');
  select(FwCfgKey.FILE_FIRST + 1);
  expect(bytes(6).toString('latin1')).toBe('second');
});

describe('by DMA', () => {
  test('an item is selected, read in parts, and skipped through', () => {
    expect(dma(selected(FwCfgKey.FILE_FIRST + 1, Dma.READ), 3)).toBe(0);
    expect(bench.vm.ram.read(TARGET, 3)?.toString('latin1')).toBe('sec');
    expect(dma(Dma.SKIP, 1)).toBe(0);
    expect(dma(Dma.READ, 4)).toBe(0);
    expect(bench.vm.ram.read(TARGET, 4)?.toString('latin1')).toBe('nd\0\0');
  });

  test('a select alone; and a write, which no item takes', () => {
    expect(dma(selected(FwCfgKey.SIGNATURE, 0), 0)).toBe(0);
    expect(bytes(4).toString('latin1')).toBe('QEMU');
    expect(dma(selected(FwCfgKey.SIGNATURE, Dma.WRITE), 4)).toBe(Dma.ERROR);
  });

  const size = 8 << 20; // of the bench's RAM
  test.each([
    ['across the end of RAM', size - 2, 4],
    ['behind RAM', size, 4],
    ['far away', 2 ** 63, 4],
    ['more than a transfer has', TARGET, 0xffff_ffff],
  ])('nothing is moved: %s', (_what, to, length) => {
    const before = bench.vm.ram.hash();
    expect(dma(selected(FwCfgKey.SIGNATURE, Dma.READ), length, to)).toBe(Dma.ERROR);
    bench.vm.ram.write(HEADER, Buffer.alloc(16));
    expect(bench.vm.ram.hash()).toBe(before);
  });

  test('nothing is set aside for a transfer that is refused', () => {
    const alloc = jest.spyOn(Buffer, 'alloc');
    try {
      expect(dma(selected(FwCfgKey.SIGNATURE, Dma.READ), 16 << 20, size - 2)).toBe(Dma.ERROR);
      expect(Math.max(...alloc.mock.calls.map(([length]) => length))).toBeLessThan(4096);
    } finally {
      alloc.mockRestore();
    }
  });

  test('a mistake of the device breaks it, and no more', () => {
    const { state } = device;
    device.onBroken = () => undefined;
    Object.defineProperty(state, 'offset', {
      get: () => {
        throw new TypeError('a mistake');
      },
      set: () => undefined,
    });
    dma(Dma.READ, 4);
    expect(device.silent).toBe(true);
  });

  test('a header that is not in RAM is not looked at', () => {
    const before = bench.vm.ram.hash();
    for (const header of [size - 8, size, 2 ** 40])
      dma(selected(FwCfgKey.SIGNATURE, Dma.READ), 4, TARGET, header);
    expect(bench.vm.ram.hash()).toBe(before);
  });
});

test('what a board tells its firmware', () => {
  const { vm } = new FullBoard();
  const read = (key: number, n: number) => {
    vm.out(0x510, key, 2);
    return Buffer.from(Array.from({ length: n }, () => vm.in(0x511)));
  };
  const count = read(FwCfgKey.FILE_DIR, 4).readUInt32BE();
  const names = Array.from({ length: count }, (_, i) =>
    read(FwCfgKey.FILE_DIR, 4 + 64 * (i + 1))
      .toString('latin1', 4 + 64 * i + 8)
      .replace(/\0.*/s, ''),
  );
  expect(names).toEqual([
    'etc/acpi/rsdp',
    'etc/acpi/tables',
    'etc/e820',
    'etc/smbios/smbios-anchor',
    'etc/smbios/smbios-tables',
    'etc/table-loader',
  ]);
  const file = (name: string, n: number) => read(FwCfgKey.FILE_FIRST + names.indexOf(name), n);
  const e820 = file('etc/e820', 20);
  expect([e820.readBigUInt64LE(0), e820.readBigUInt64LE(8), e820.readUInt32LE(16)]).toEqual([
    0n,
    4n << 20n,
    1,
  ]);
  expect(read(FwCfgKey.NB_CPUS, 2).readUInt16LE()).toBe(1);
  const script = file('etc/table-loader', 128);
  expect(script.readUInt32LE()).toBe(1); // allocate
  expect(script.toString('latin1', 4, 19)).toBe('etc/acpi/tables');
  vm.out(0x70, 0x3d);
  expect(vm.in(0x71)).toBe(0x32); // disk, then CD-ROM
});
