/**
 * Driver `memory`: a sparse disk or overlay in RAM, with a bound on its bytes. Allocation is known per sector, so a short write needs
 * no copy from the backing node. Content is kept in 4 KiB blocks; a block of zeroes costs no bytes.
 */
import { assert, VmError } from '../../base/errors.js';
import { type Extent, type Overlay, SECTOR } from '../driver.js';
import { ioError } from '../io-error.js';
import type { Adopting, BlockNode } from '../node.js';

/** Unit of content. */
const BLOCK = 4096;
const FULL = (1 << (BLOCK / SECTOR)) - 1;
const ZERO_BLOCK = Buffer.alloc(BLOCK);

interface Block {
  /** ZERO_BLOCK until something else is written. */
  data: Buffer;
  /** Bit n: sector n is held here. */
  sectors: number;
}

export interface MemoryOptions {
  /** Bytes of content that may be held. */
  maxBytes: number;
  /** Length when there is no backing node. */
  size?: number;
  readOnly: boolean;
}

export class MemoryDriver implements Overlay, Adopting {
  readonly format = 'memory';
  readonly unit = BLOCK;
  readonly length: number;
  readonly readOnly: boolean;
  private readonly maxBytes: number;
  private readonly blocks = new Map<number, Block>();
  private heldBytes = 0;

  constructor(options: MemoryOptions, private backing?: BlockNode) {
    const length = backing?.length ?? options.size;
    if (length === undefined) throw new VmError("driver 'memory' needs a backing node or a size");
    if (backing && options.size !== undefined && options.size !== backing.length) throw new VmError(`driver 'memory': size ${options.size} is not that of its backing node, ${backing.length}`);
    this.length = length;
    this.readOnly = options.readOnly;
    this.maxBytes = options.maxBytes;
  }

  /** Bytes of content held, blocks of zeroes not counted. */
  get bytes(): number {
    return this.heldBytes;
  }

  get empty(): boolean {
    return this.blocks.size === 0;
  }

  async pread(offset: number, length: number): Promise<Buffer> {
    const out = Buffer.alloc(length);
    const missing: { at: number; length: number }[] = [];
    this.eachSectorRun(offset, length, (at, n, block, held) => {
      if (held) block!.data.copy(out, at - offset, at % BLOCK, (at % BLOCK) + n);
      else if (missing.length > 0 && missing[missing.length - 1].at + missing[missing.length - 1].length === at) missing[missing.length - 1].length += n;
      else missing.push({ at, length: n });
    });
    if (this.backing) for (const run of missing) out.set(await this.backing.pread(run.at, run.length), run.at - offset);
    return out;
  }

  async pwrite(offset: number, data: Uint8Array): Promise<void> {
    this.reserve(offset, data.length);
    for (let at = offset; at < offset + data.length; ) {
      const n = Math.min(BLOCK - (at % BLOCK), offset + data.length - at);
      const block = this.blockForWrite(at);
      block.data.set(data.subarray(at - offset, at - offset + n), at % BLOCK);
      block.sectors |= sectorMask(at % BLOCK, n);
      at += n;
    }
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
    for (let at = offset; at < offset + length; ) {
      const n = Math.min(BLOCK - (at % BLOCK), offset + length - at);
      this.zeroBlock(at, n);
      at += n;
    }
  }

  /** The whole range is held here. */
  holds(offset: number, length: number): boolean {
    let all = true;
    this.eachSectorRun(offset, length, (_at, _n, _block, held) => {
      if (!held) all = false;
    });
    return all;
  }

  /** What is held, joined where it is adjacent, by rising offset; zero runs carry no data. The content must not change during the walk. */
  *extents(maxBytes: number): Generator<Extent> {
    let run: { offset: number; length: number; parts: Buffer[] | undefined } | undefined;
    const finish = () => run && { offset: run.offset, length: run.length, data: run.parts && Buffer.concat(run.parts, run.length) };
    for (const piece of this.pieces()) {
      const joins = run && run.offset + run.length === piece.offset && run.length + piece.data.length <= maxBytes && (run.parts === undefined) === piece.zero;
      if (run && joins) {
        run.length += piece.data.length;
        run.parts?.push(piece.data);
        continue;
      }
      const done = finish();
      if (done) yield done;
      run = { offset: piece.offset, length: piece.data.length, parts: piece.zero ? undefined : [piece.data] };
    }
    const done = finish();
    if (done) yield done;
  }

  clear(): void {
    this.blocks.clear();
    this.heldBytes = 0;
  }

  replaceChild(_edge: string, child: BlockNode | undefined): void {
    this.backing = child;
  }

  async close(): Promise<void> {
    this.clear();
  }

  describe() {
    return { 'max-bytes': this.maxBytes, bytes: this.heldBytes };
  }

  /** All or nothing: a write that would pass the bound changes nothing. */
  private reserve(offset: number, length: number): void {
    assert(offset % SECTOR === 0 && length % SECTOR === 0, 'memory driver: whole sectors');
    let more = 0;
    for (let at = offset; at < offset + length; at += BLOCK - (at % BLOCK)) {
      const block = this.blocks.get(Math.floor(at / BLOCK));
      if (!block || block.data === ZERO_BLOCK) more += BLOCK;
    }
    if (this.heldBytes + more > this.maxBytes) throw ioError('ENOSPC', `the overlay in memory would pass its bound of ${this.maxBytes} bytes`);
  }

  private blockForWrite(at: number): Block {
    const index = Math.floor(at / BLOCK);
    let block = this.blocks.get(index);
    if (!block) this.blocks.set(index, (block = { data: ZERO_BLOCK, sectors: 0 }));
    if (block.data === ZERO_BLOCK) {
      block.data = Buffer.alloc(BLOCK);
      this.heldBytes += BLOCK;
    }
    return block;
  }

  private zeroBlock(at: number, length: number): void {
    assert(at % SECTOR === 0 && length % SECTOR === 0, 'memory driver: whole sectors');
    const index = Math.floor(at / BLOCK);
    let block = this.blocks.get(index);
    if (!block) this.blocks.set(index, (block = { data: ZERO_BLOCK, sectors: 0 }));
    block.sectors |= sectorMask(at % BLOCK, length);
    if (block.data === ZERO_BLOCK) return;
    block.data.fill(0, at % BLOCK, (at % BLOCK) + length);
    if (length === BLOCK) {
      block.data = ZERO_BLOCK;
      this.heldBytes -= BLOCK;
    }
  }

  /** Runs of held sectors within each block. */
  private *pieces(): Generator<{ offset: number; data: Buffer; zero: boolean }> {
    const indexes = [...this.blocks.keys()].sort((a, b) => a - b);
    for (const index of indexes) {
      const block = this.blocks.get(index)!;
      for (let s = 0; s < BLOCK / SECTOR; ) {
        let end = s;
        while (end < BLOCK / SECTOR && block.sectors & (1 << end)) end++;
        if (end > s) yield { offset: index * BLOCK + s * SECTOR, data: block.data.subarray(s * SECTOR, end * SECTOR), zero: block.data === ZERO_BLOCK };
        s = end + 1;
      }
    }
  }

  /** Runs of sectors of one block that are all held or all not. */
  private eachSectorRun(offset: number, length: number, visit: (at: number, n: number, block: Block | undefined, held: boolean) => void): void {
    const end = offset + length;
    for (let at = offset; at < end; ) {
      const blockEnd = Math.min(end, at - (at % BLOCK) + BLOCK);
      const block = this.blocks.get(Math.floor(at / BLOCK));
      if (!block || block.sectors === FULL) {
        visit(at, blockEnd - at, block, block !== undefined);
        at = blockEnd;
        continue;
      }
      const held = (block.sectors & sectorMask(at % BLOCK, 1)) !== 0;
      let stop = at - (at % SECTOR) + SECTOR;
      while (stop < blockEnd && ((block.sectors & sectorMask(stop % BLOCK, 1)) !== 0) === held) stop += SECTOR;
      stop = Math.min(stop, blockEnd);
      visit(at, stop - at, block, held);
      at = stop;
    }
  }
}

function sectorMask(offset: number, length: number): number {
  const first = Math.floor(offset / SECTOR);
  const last = Math.floor((offset + length - 1) / SECTOR);
  return ((1 << (last - first + 1)) - 1) << first;
}
