/**
 * What an overlay in memory holds, by regions of 16 MiB: blocks of data, and one bit for each
 * sector that was zeroed. A region that is zeroes all over costs no more than its name, so neither
 * a discard of a whole disk nor many small ones make it large.
 */
import { SECTOR } from '../contract/driver.js';

/** Unit of content. */
export const BLOCK = 4096;
const REGION = 16 * 1024 * 1024;
const BLOCKS = REGION / BLOCK;
/** One bit for each sector of a block. */
const FULL = (1 << (BLOCK / SECTOR)) - 1;
/** Reckoned for the zeroes of a region. */
const costs = { none: 0, all: 256, map: BLOCKS } as const;
const costOf = ({ zeroes }: Pick<Region, 'zeroes'>): number =>
  costs[typeof zeroes === 'string' ? zeroes : 'map'];

interface Block {
  readonly data: Buffer;
  /**
   * Bit n: sector n is held here. For a block that exists, zeroes are recorded in no other place.
   */
  sectors: number;
}

interface Region {
  readonly blocks: Map<number, Block>;
  /** Sectors of zeroes, a byte for each block. */
  zeroes: 'none' | 'all' | Uint8Array;
}

export type MemoryRun =
  { length: number; kind: 'none' | 'zero' } | { length: number; kind: 'data'; data: Buffer };

export class MemoryMap {
  private readonly regions = new Map<number, Region>();
  private cost = 0;

  constructor(private readonly length: number) {}

  get bytes(): number {
    return this.cost;
  }

  get empty(): boolean {
    return this.regions.size === 0;
  }

  clear(): void {
    this.regions.clear();
    this.cost = 0;
  }

  /** What a write would add to bytes. */
  costOfData(offset: number, length: number): number {
    let more = 0;
    for (let at = offset; at < offset + length; at += BLOCK - (at % BLOCK)) {
      const region = this.regions.get(Math.floor(at / REGION));
      if (region?.zeroes === 'all' && (at === offset || at % REGION < BLOCK)) more += costs.map;
      if (!region?.blocks.has(blockOf(at))) more += BLOCK;
    }
    return more;
  }

  costOfZeroes(offset: number, length: number): number {
    let more = 0;
    this.byRegion(offset, length, (index, from, to) => {
      const zeroes = this.regions.get(index)?.zeroes ?? 'none';
      if (zeroes === 'none') more += this.isWhole(index, from, to) ? costs.all : costs.map;
    });
    return more;
  }

  write(offset: number, data: Uint8Array): void {
    for (let at = offset; at < offset + data.length;) {
      const n = Math.min(BLOCK - (at % BLOCK), offset + data.length - at);
      const block = this.blockForWrite(at);
      block.data.set(data.subarray(at - offset, at - offset + n), at % BLOCK);
      block.sectors |= maskOf(at % BLOCK, n);
      at += n;
    }
  }

  zero(offset: number, length: number): void {
    this.byRegion(offset, length, (index, from, to) => {
      const region = this.region(index);
      if (this.isWhole(index, from, to)) {
        this.cost -= region.blocks.size * BLOCK;
        region.blocks.clear();
        this.setZeroes(region, 'all');
      } else if (region.zeroes !== 'all') this.zeroPart(region, from, to);
    });
  }

  /**
   * What stands at the offset, and for how many bytes, at most up to end and to the end of a region
   * or a block of data.
   */
  run(at: number, end: number): MemoryRun {
    const index = Math.floor(at / REGION);
    const stop = Math.min(end, (index + 1) * REGION);
    const region = this.regions.get(index);
    if (!region) return { kind: 'none', length: stop - at };
    if (region.zeroes === 'all') return { kind: 'zero', length: stop - at };
    const block = region.blocks.get(blockOf(at));
    if (block) return runOfBlock(block, at, stop);
    const zero = sectorIsZero(region, at);
    let to = at + SECTOR - (at % SECTOR);
    while (
      to < stop &&
      !(to % BLOCK === 0 && region.blocks.has(blockOf(to))) &&
      sectorIsZero(region, to) === zero
    )
      to += stepAt(region, to, zero);
    return { kind: zero ? 'zero' : 'none', length: Math.min(to, stop) - at };
  }

  /** Runs of what is held, by rising offset. */
  *held(): Generator<{ offset: number; run: MemoryRun }> {
    for (const index of [...this.regions.keys()].sort((a, b) => a - b)) {
      const end = Math.min(this.length, (index + 1) * REGION);
      for (let at = index * REGION; at < end;) {
        const run = this.run(at, end);
        if (run.kind !== 'none') yield { offset: at, run };
        at += run.length;
      }
    }
  }

  private zeroPart(region: Region, from: number, to: number): void {
    for (let at = from; at < to;) {
      const n = Math.min(BLOCK - (at % BLOCK), to - at);
      const index = blockOf(at);
      const block = region.blocks.get(index);
      if (block && n === BLOCK) {
        region.blocks.delete(index);
        this.cost -= BLOCK;
        this.mapOf(region)[index] = FULL;
      } else if (block) {
        block.data.fill(0, at % BLOCK, (at % BLOCK) + n);
        block.sectors |= maskOf(at % BLOCK, n);
      } else this.mapOf(region)[index] |= maskOf(at % BLOCK, n);
      at += n;
    }
  }

  private blockForWrite(at: number): Block {
    const region = this.region(Math.floor(at / REGION));
    const index = blockOf(at);
    const known = region.blocks.get(index);
    if (known) return known;
    const zeroes = region.zeroes === 'none' ? undefined : this.mapOf(region);
    const block = { data: Buffer.alloc(BLOCK), sectors: zeroes ? zeroes[index] : 0 };
    if (zeroes) zeroes[index] = 0;
    region.blocks.set(index, block);
    this.cost += BLOCK;
    return block;
  }

  private region(index: number): Region {
    let region = this.regions.get(index);
    if (region) return region;
    region = { blocks: new Map(), zeroes: 'none' };
    this.regions.set(index, region);
    return region;
  }

  private mapOf(region: Region): Uint8Array {
    if (typeof region.zeroes === 'string')
      this.setZeroes(region, new Uint8Array(BLOCKS).fill(region.zeroes === 'all' ? FULL : 0));
    return region.zeroes as Uint8Array;
  }

  private setZeroes(region: Region, zeroes: Region['zeroes']): void {
    this.cost += costOf({ zeroes }) - costOf(region);
    region.zeroes = zeroes;
  }

  private isWhole(index: number, from: number, to: number): boolean {
    return from === index * REGION && to === Math.min(this.length, (index + 1) * REGION);
  }

  private byRegion(
    offset: number,
    length: number,
    visit: (index: number, from: number, to: number) => void,
  ): void {
    const end = offset + length;
    for (let at = offset; at < end;) {
      const index = Math.floor(at / REGION);
      const to = Math.min(end, (index + 1) * REGION);
      visit(index, at, to);
      at = to;
    }
  }
}

const blockOf = (at: number): number => Math.floor((at % REGION) / BLOCK);

/** n bytes from `from` on, in one block. */
function maskOf(from: number, n: number): number {
  const first = Math.floor(from / SECTOR);
  const last = Math.floor((from + n - 1) / SECTOR);
  return ((1 << (last - first + 1)) - 1) << first;
}

function sectorIsZero({ zeroes }: Region, at: number): boolean {
  if (typeof zeroes === 'string') return zeroes === 'all';
  return (zeroes[blockOf(at)] & maskOf(at % BLOCK, 1)) !== 0;
}

/** A block of one kind is passed at once. */
function stepAt({ zeroes }: Region, at: number, zero: boolean): number {
  if (at % BLOCK !== 0) return SECTOR;
  if (typeof zeroes === 'string') return BLOCK;
  return zeroes[blockOf(at)] === (zero ? FULL : 0) ? BLOCK : SECTOR;
}

function runOfBlock(block: Block, at: number, end: number): MemoryRun {
  const stop = Math.min(end, at - (at % BLOCK) + BLOCK);
  const heldAt = (n: number) => (block.sectors & maskOf(n % BLOCK, 1)) !== 0;
  const held = heldAt(at);
  let to = at + SECTOR - (at % SECTOR);
  while (to < stop && heldAt(to) === held) to += SECTOR;
  to = Math.min(to, stop);
  if (!held) return { kind: 'none', length: to - at };
  return {
    kind: 'data',
    length: to - at,
    data: block.data.subarray(at % BLOCK, (at % BLOCK) + to - at),
  };
}
