/**
 * Driver `memory`: a sparse disk or overlay in RAM, with a bound on its bytes; zeroes count for
 * what they cost.
 */
import { assert, VmError } from '../../base/errors.js';
import {
  type BlockStatus,
  type Extent,
  type HeldRun,
  type Overlay,
  SECTOR,
} from '../contract/driver.js';
import { ioError } from '../contract/io-error.js';
import type { Adopting, BlockNode } from '../contract/node.js';
import { BLOCK, MemoryMap } from './memory-map.js';

export interface MemoryOptions {
  /** Bytes of memory that may be held. */
  maxBytes: number;
  /** Length when there is no backing node. */
  size?: number;
  readOnly: boolean;
}

export class MemoryDriver implements Overlay, Adopting {
  readonly format = 'memory';
  readonly unit = BLOCK;
  readonly fastZeroes = true;
  readonly length: number;
  readonly readOnly: boolean;
  private readonly maxBytes: number;
  private readonly map: MemoryMap;

  constructor(
    options: MemoryOptions,
    private backing?: BlockNode,
  ) {
    const length = backing?.length ?? options.size;
    if (length === undefined) throw new VmError("driver 'memory' needs a backing node or a size");
    if (backing && options.size !== undefined && options.size !== backing.length)
      throw new VmError(
        `driver 'memory': size ${options.size} is not that of its backing node, ${backing.length}`,
      );
    this.length = length;
    this.readOnly = options.readOnly;
    this.maxBytes = options.maxBytes;
    this.map = new MemoryMap(length);
  }

  /** Of memory, about. */
  get bytes(): number {
    return this.map.bytes;
  }

  get empty(): boolean {
    return this.map.empty;
  }

  async pread(offset: number, length: number): Promise<Buffer> {
    const out = Buffer.alloc(length);
    const end = offset + length;
    const missing: { at: number; length: number }[] = [];
    for (let at = offset; at < end;) {
      const run = this.map.run(at, end);
      const last = missing.at(-1);
      if (run.kind === 'data') run.data.copy(out, at - offset);
      else if (run.kind === 'none' && last && last.at + last.length === at)
        last.length += run.length;
      else if (run.kind === 'none') missing.push({ at, length: run.length });
      at += run.length;
    }
    if (this.backing)
      for (const run of missing)
        out.set(await this.backing.pread(run.at, run.length), run.at - offset);
    return out;
  }

  async pwrite(offset: number, data: Uint8Array): Promise<void> {
    this.reserve(offset, data.length, this.map.costOfData(offset, data.length));
    this.map.write(offset, data);
  }

  async flush(): Promise<void> {
    // nothing in RAM is durable
  }

  async settle(): Promise<void> {
    // nothing in RAM survives the process
  }

  discard(offset: number, length: number): Promise<void> {
    return this.writeZeroes(offset, length);
  }

  async writeZeroes(offset: number, length: number): Promise<void> {
    this.reserve(offset, length, this.map.costOfZeroes(offset, length));
    this.map.zero(offset, length);
  }

  async blockStatus(offset: number, length: number): Promise<BlockStatus> {
    const { kind, length: alike } = this.map.run(offset, offset + length);
    if (kind !== 'none') return { length: alike, allocated: true, zero: kind === 'zero' };
    if (!this.backing) return { length: alike, allocated: false, zero: true };
    return { ...(await this.backing.blockStatus(offset, alike)), allocated: false };
  }

  heldFrom(offset: number, length: number): HeldRun {
    const held = this.map.run(offset, offset + length).kind !== 'none';
    let at = offset;
    while (at < offset + length) {
      const run = this.map.run(at, offset + length);
      if ((run.kind !== 'none') !== held) break;
      at += run.length;
    }
    return { held, length: at - offset };
  }

  /**
   * What is held, joined where it is adjacent, by rising offset; zero runs carry no data. The
   * content must not change during the walk.
   */
  *extents(maxBytes: number): Generator<Extent> {
    let run: { offset: number; length: number; parts: Buffer[] | undefined } | undefined;
    const finish = () =>
      run && {
        offset: run.offset,
        length: run.length,
        data: run.parts && Buffer.concat(run.parts, run.length),
      };
    for (const { offset, run: piece } of this.map.held()) {
      const part = piece.kind === 'data' ? piece.data : undefined;
      const adjacent =
        run &&
        run.offset + run.length === offset &&
        (run.parts === undefined) === (part === undefined);
      // Zeroes need no buffer, so they are as long as they are.
      if (run && adjacent && (!part || run.length + piece.length <= maxBytes)) {
        run.length += piece.length;
        if (part) run.parts!.push(part);
        continue;
      }
      const done = finish();
      if (done) yield done;
      run = { offset, length: piece.length, parts: part && [part] };
    }
    const done = finish();
    if (done) yield done;
  }

  clear(): void {
    this.map.clear();
  }

  replaceChild(_edge: string, child: BlockNode | undefined): void {
    this.backing = child;
  }

  async close(): Promise<void> {
    this.clear();
  }

  describe() {
    return { 'max-bytes': this.maxBytes, bytes: this.map.bytes };
  }

  /** All or nothing: a change that would pass the bound changes nothing. */
  private reserve(offset: number, length: number, more: number): void {
    assert(offset % SECTOR === 0 && length % SECTOR === 0, 'memory driver: whole sectors');
    if (this.map.bytes + more > this.maxBytes)
      throw ioError(
        'ENOSPC',
        `the overlay in memory would pass its bound of ${this.maxBytes} bytes`,
      );
  }
}
