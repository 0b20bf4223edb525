/**
 * A guest that writes its disk without end, in a hundred instructions: it finds the one virtio-blk
 * of the machine, and write number n puts n and a magic word into sector n modulo `sectors`. What
 * it says of itself lies in memory: DONE counts answered writes, ERRORS adds up their status bytes.
 */
import { fakeKernel } from './fake-kernel.js';
import { Assembler } from './toy-guest.js';

export const DiskGuest = { DONE: 0x80_0000, ERRORS: 0x80_0004, MAGIC: 0x4f4c_4f43 } as const;
const HEADER = 0x80_0100;
const STATUS = 0x80_0200;
const DATA = 0x80_1000;
const [DESC, AVAIL, USED] = [0x80_2000, 0x80_3000, 0x80_4000];
/** Where the firmware puts BAR 0 of the first device. */
const BAR = 0xfe00_0000;
const QUEUE_SIZE = 8;

const dword = (value: number) => [
  value & 0xff,
  (value >>> 8) & 0xff,
  (value >>> 16) & 0xff,
  (value >>> 24) & 0xff,
];

class Driver extends Assembler {
  byteAtRbx(offset: number, value: number): this {
    return this.raw(0xc6, 0x83, ...dword(offset), value);
  }
  wordAtRbx(offset: number, value: number): this {
    return this.raw(0x66, 0xc7, 0x83, ...dword(offset), value & 0xff, value >>> 8);
  }
  /** Until the dwords at both addresses are equal. */
  waitEqual(a: number, b: number): this {
    const top = this.here;
    this.loadEax(a).raw(0x3b, 0x04, 0x25, ...dword(b));
    return this.raw(0x75, top - (this.here + 2));
  }
}

/** sectors: a power of two; pace: loops between two writes. */
export function diskGuest({ sectors, pace = 2000 }: { sectors: number; pace?: number }): Buffer {
  const a = new Driver(0);
  // memory and bus master of 00:01.0
  a.movEdx(0xcf8).movEax(0x8000_0804).outDxEax().movEdx(0xcfc).movEax(6).outDxEax();
  a.movEbx(BAR).byteAtRbx(0x14, 0).byteAtRbx(0x14, 1).byteAtRbx(0x14, 3);
  a.storeAtRbx(0x08, 1).storeAtRbx(0x0c, 1).byteAtRbx(0x14, 0xb); // VIRTIO_F_VERSION_1
  a.wordAtRbx(0x16, 0).wordAtRbx(0x18, QUEUE_SIZE);
  for (const [at, address] of [
    [0x20, DESC],
    [0x28, AVAIL],
    [0x30, USED],
  ])
    a.storeAtRbx(at, address).storeAtRbx(at + 4, 0);
  a.wordAtRbx(0x1c, 1).byteAtRbx(0x14, 0xf);
  a.movEbx(DESC).storeAtRbx(0, HEADER).storeAtRbx(8, 16).storeAtRbx(12, 0x1_0001);
  a.storeAtRbx(16, DATA)
    .storeAtRbx(24, 512)
    .storeAtRbx(28, 0x2_0001)
    .storeAtRbx(32, STATUS)
    .storeAtRbx(40, 1)
    .storeAtRbx(44, 2);
  a.movEbx(HEADER).storeAtRbx(0, 1).movEbx(DATA).storeAtRbx(4, DiskGuest.MAGIC);
  const loop = a.here;
  a.loadEax(DiskGuest.DONE)
    .storeEax(DATA)
    .raw(0x25, ...dword(sectors - 1))
    .storeEax(HEADER + 8);
  a.raw(0x66, 0xff, 0x04, 0x25, ...dword(AVAIL + 2)); // inc word
  a.movEbx(BAR + 0x3000)
    .storeWordAtRbx(0)
    .waitEqual(USED, AVAIL);
  a.loadEax(STATUS).raw(0x01, 0x04, 0x25, ...dword(DiskGuest.ERRORS)); // add [ERRORS], eax
  a.incDword(DiskGuest.DONE).movEcx(pace).countDownEcx().jumpTo(loop);
  return fakeKernel({ code: a.code() });
}

/** The number in a sector of an image, or undefined where the guest has not written. */
export function numberAt(image: Uint8Array, sector: number): number | undefined {
  const at = Buffer.from(image.buffer, image.byteOffset + sector * 512, 8);
  return at.readUInt32LE(4) === DiskGuest.MAGIC ? at.readUInt32LE(0) : undefined;
}
