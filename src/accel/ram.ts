/**
 * Guest RAM over the addon: small accesses go straight to the mapped windows, and only the mark of
 * a write crosses into native code.
 */
import { assert } from '../base/errors.js';
import { mutant } from '../base/mutant.js';
import { type NativeRam, vmModule } from './addon.js';
import type { DirtyLog, Mapping, PageCodec, PageRun, Ram, VideoMemory } from './contract.js';

const WINDOW = 2 ** 30;

/** Local APIC, I/O APIC, HPET and firmware are there: no card's memory may hide them. */
const CHIPS = { gpa: 0xfec00000, size: 0x1400000 };

interface Slot {
  readonly gpa: number;
  readonly size: number;
  readonly offset: number;
}

/** At a multiple of its size, so that it lies in one window. What is between holds no memory. */
const videoOffset = (behind: number, bytes: number): number =>
  bytes === 0 ? behind : Math.ceil(behind / bytes) * bytes;

export class AddonRam implements Ram {
  /** For AddonVm only. */
  readonly native: NativeRam;
  readonly size: number;
  readonly pageCount: number;
  readonly dirtyLog: DirtyLog;
  readonly video: VideoMemory | undefined;
  private shown: readonly Mapping[] = [];
  private videoShown: Mapping | undefined;
  private readonly slots: readonly Slot[];
  private readonly windows: readonly Buffer[];
  /**
   * The same bytes for aligned accesses: a vCPU reads and writes ring indices at the same time, and
   * Buffer's accessors go byte by byte.
   */
  private readonly halves: readonly Uint16Array[];
  private readonly words: readonly Uint32Array[];

  /** Multiples of 4096. Below 3 GiB RAM is one range at 0; the rest goes to 4 GiB and up. */
  constructor(
    sizeBytes: number,
    readonly extraBytes = 0,
    videoBytes = 0,
  ) {
    const videoAt = videoOffset(sizeBytes + extraBytes, videoBytes);
    const behind = videoAt + videoBytes - sizeBytes;
    this.native = new (vmModule().GuestRam)(sizeBytes, behind);
    this.size = sizeBytes;
    this.pageCount = (sizeBytes + behind) / 4096;
    this.slots = this.native.slots();
    const windows = this.native.windows();
    this.windows = windows.map(w => Buffer.from(w));
    this.halves = windows.map(w => new Uint16Array(w));
    this.words = windows.map(w => new Uint32Array(w));
    this.dirtyLog = new AddonDirtyLog(this.native);
    if (videoBytes > 0) this.video = this.videoMemory(videoAt, videoBytes);
  }

  private videoMemory(at: number, length: number): VideoMemory {
    const from = at % WINDOW;
    return {
      bytes: this.windowOf(at).subarray(from, from + length),
      markWritten: (offset, count) => {
        if (!mutant('device-writes-not-dirty')) this.native.markOffsetWritten(at + offset, count);
      },
      map: gpa => {
        this.videoShown =
          gpa === undefined ? undefined : { gpa, size: length, offset: at, readOnly: false };
        this.showMap();
      },
    };
  }

  contains(gpa: number, length: number): boolean {
    return this.offsetOf(gpa, length) >= 0;
  }

  view(gpa: number, length: number): Uint8Array | undefined {
    const offset = this.offsetOf(gpa, length);
    if (offset < 0) return undefined;
    const at = offset % WINDOW;
    if (at + length > WINDOW) return undefined;
    return this.windowOf(offset).subarray(at, at + length);
  }

  read(gpa: number, length: number): Buffer | undefined {
    const offset = this.offsetOf(gpa, length);
    if (offset < 0) return undefined;
    const out = Buffer.allocUnsafe(length);
    this.eachPart(offset, length, (part, done) => part.copy(out, done));
    return out;
  }

  write(gpa: number, bytes: Uint8Array): boolean {
    const offset = this.offsetOf(gpa, bytes.length);
    if (offset < 0) return false;
    this.eachPart(offset, bytes.length, (part, done) =>
      part.set(bytes.subarray(done, done + part.length)),
    );
    this.markWritten(gpa, bytes.length);
    return true;
  }

  /** Sets length bytes to value. */
  fill(gpa: number, length: number, value: number): boolean {
    const offset = this.offsetOf(gpa, length);
    if (offset < 0) return false;
    this.eachPart(offset, length, part => part.fill(value));
    this.markWritten(gpa, length);
    return true;
  }

  readU8(gpa: number): number | undefined {
    const offset = this.offsetOf(gpa, 1);
    return offset < 0 ? undefined : this.windowOf(offset)[offset % WINDOW];
  }

  readU16(gpa: number): number | undefined {
    const offset = this.offsetOf(gpa, 2);
    if (offset < 0) return undefined;
    if (offset % 2 === 0) return this.halves[Math.floor(offset / WINDOW)][(offset % WINDOW) >>> 1];
    return this.read(gpa, 2)?.readUInt16LE();
  }

  readU32(gpa: number): number | undefined {
    const offset = this.offsetOf(gpa, 4);
    if (offset < 0) return undefined;
    if (offset % 4 === 0) return this.words[Math.floor(offset / WINDOW)][(offset % WINDOW) >>> 2];
    return this.read(gpa, 4)?.readUInt32LE();
  }

  readU64(gpa: number): bigint | undefined {
    const offset = this.offsetOf(gpa, 8);
    if (offset < 0) return undefined;
    const at = offset % WINDOW;
    return at + 8 <= WINDOW
      ? this.windowOf(offset).readBigUInt64LE(at)
      : this.read(gpa, 8)?.readBigUInt64LE();
  }

  writeU8(gpa: number, value: number): boolean {
    return this.writeSmall(gpa, 1, value);
  }

  writeU16(gpa: number, value: number): boolean {
    return this.writeSmall(gpa, 2, value);
  }

  writeU32(gpa: number, value: number): boolean {
    return this.writeSmall(gpa, 4, value);
  }

  writeU64(gpa: number, value: bigint): boolean {
    const bytes = Buffer.allocUnsafe(8);
    bytes.writeBigUInt64LE(BigInt.asUintN(64, value));
    return this.write(gpa, bytes);
  }

  markWritten(gpa: number, length: number): void {
    if (!mutant('device-writes-not-dirty')) this.native.markWritten(gpa, length);
  }

  writeExtra(at: number, bytes: Uint8Array): void {
    assert(at >= 0 && at + bytes.length <= this.extraBytes, 'it lies behind RAM');
    this.eachPart(this.size + at, bytes.length, (part, done) =>
      part.set(bytes.subarray(done, done + part.length)),
    );
    this.native.markOffsetWritten(this.size + at, bytes.length);
  }

  readExtra(at: number, length: number): Buffer {
    assert(at >= 0 && at + length <= this.extraBytes, 'it lies behind RAM');
    const out = Buffer.allocUnsafe(length);
    this.eachPart(this.size + at, length, (part, done) => part.copy(out, done));
    return out;
  }

  setMap(map: readonly Mapping[]): void {
    this.shown = map;
    this.showMap();
  }

  private showMap(): void {
    const { shown, videoShown: video } = this;
    const meets = (m: Pick<Mapping, 'gpa' | 'size'>) =>
      video !== undefined && m.gpa < video.gpa + video.size && video.gpa < m.gpa + m.size;
    const free = !meets(CHIPS) && !shown.some(meets);
    this.native.setMap(video && free ? [...shown, video] : shown);
  }

  gather(pages: Uint32Array, out: Uint8Array): void {
    this.native.gather(pages, out);
  }

  scatter(pages: Uint32Array, data: Uint8Array): void {
    this.native.scatter(pages, data);
  }

  zero(pages: Uint32Array): void {
    this.native.zero(pages);
  }

  hash(): bigint {
    return this.native.hash();
  }

  pageCodec(): PageCodec {
    return new (vmModule().PageCodec)(this.native);
  }

  populated(): PageRun[] {
    const extents = this.native.populated();
    return Array.from({ length: extents.length / 2 }, (_, i) => ({
      from: extents[2 * i],
      to: extents[2 * i] + extents[2 * i + 1],
    }));
  }

  /** Offset in RAM of [gpa, gpa+length) if it lies in one slot, else -1. */
  private offsetOf(gpa: number, length: number): number {
    if (!(gpa >= 0 && length >= 0)) return -1;
    for (const slot of this.slots) {
      const at = gpa - slot.gpa;
      if (at >= 0 && at < slot.size) return length <= slot.size - at ? slot.offset + at : -1;
    }
    return -1;
  }

  private windowOf(offset: number): Buffer {
    return this.windows[Math.floor(offset / WINDOW)];
  }

  private writeSmall(gpa: number, size: 1 | 2 | 4, value: number): boolean {
    const offset = this.offsetOf(gpa, size);
    if (offset < 0) return false;
    const index = Math.floor(offset / WINDOW);
    const at = offset % WINDOW;
    if (size === 4 && at % 4 === 0) this.words[index][at >>> 2] = value;
    else if (size === 2 && at % 2 === 0) this.halves[index][at >>> 1] = value;
    else
      for (let i = 0; i < size; i++)
        this.windowOf(offset + i)[(offset + i) % WINDOW] = value >>> (8 * i);
    this.markWritten(gpa, size);
    return true;
  }

  /**
   * Splits a range at window borders: part is live memory, done is its distance from the range's
   * start.
   */
  private eachPart(offset: number, length: number, fn: (part: Buffer, done: number) => void): void {
    for (let done = 0; done < length;) {
      const at = (offset + done) % WINDOW;
      const n = Math.min(length - done, WINDOW - at);
      fn(this.windowOf(offset + done).subarray(at, at + n), done);
      done += n;
    }
  }
}

class AddonDirtyLog implements DirtyLog {
  constructor(private readonly native: NativeRam) {}

  get active(): boolean {
    return this.native.logging();
  }

  start(): void {
    this.native.startDirtyLog();
  }

  stop(): void {
    this.native.stopDirtyLog();
  }

  count(): number {
    return this.native.dirtyCount();
  }

  take(): Uint32Array {
    assert(this.active, 'the dirty log is on');
    return this.native.takeDirty();
  }

  restore(pages: Uint32Array): void {
    this.native.restoreDirty(pages);
  }
}
