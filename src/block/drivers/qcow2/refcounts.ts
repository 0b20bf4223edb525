/**
 * Refcounts of an image's clusters and the finding of free ones. Counts change in memory;
 * writeBack() brings them to the file, before any table that relies on them. A new refcount block
 * is durable, all zero but for itself, before the refcount table names it.
 */
import type { VmError } from '../../../base/errors.js';
import { isZero, SECTOR } from '../../contract/driver.js';
import { ioError } from '../../contract/io-error.js';
import type { BlockNode } from '../../contract/node.js';
import { maxRefcount, readPointer, readRefcount, writePointer, writeRefcount } from './entries.js';
import { HeaderAt, MAX_REFCOUNT_TABLE_BYTES, type Qcow2Header, writeOffset } from './header.js';
import { TableCache } from './table-cache.js';

const CACHE_BYTES = 4 * 1024 * 1024;
/** The file grows by at least so much at once, a long one by a sixteenth of itself. */
const GROW_BYTES = 1024 * 1024;
const MAX_GROW_BYTES = 32 * 1024 * 1024;

export class Refcounts {
  readonly blocks: TableCache;
  readonly max: number;
  /** No cluster below is free. */
  private hint = 0;
  /** Refcounts in one block. */
  readonly perBlock: number;

  private constructor(
    private readonly file: BlockNode,
    private readonly header: Qcow2Header,
    private table: Buffer,
    /** Clusters that hold metadata: never given away, whatever their refcount says. */
    private readonly fixed: Set<number>,
    /** An error for tables that contradict themselves. */
    private readonly bad: (text: string) => VmError,
  ) {
    this.blocks = new TableCache(file, header.clusterSize, CACHE_BYTES, 'refblock_load');
    this.perBlock = (header.clusterSize * 8) / header.refcountBits;
    this.max = maxRefcount(header.refcountBits);
  }

  static async open(
    file: BlockNode,
    header: Qcow2Header,
    fixed: Set<number>,
    bad: (text: string) => VmError,
  ): Promise<Refcounts> {
    const table = await file.pread(
      header.refcountTableOffset,
      header.refcountTableClusters * header.clusterSize,
    );
    return new Refcounts(file, header, table, fixed, bad);
  }

  get tableEntries(): number {
    return this.table.length / 8;
  }

  /** Beyond them the table is empty, which most of it is. */
  get usedEntries(): number {
    let end = this.table.length;
    while (end > 0 && isZero(this.table, Math.max(0, end - SECTOR), end)) end -= SECTOR;
    return Math.max(0, end) / 8;
  }

  /** Offset of a refcount block, 0 if there is none. */
  blockOffset(index: number): number {
    const { offset } = readPointer(this.table, index);
    if (offset % this.header.clusterSize !== 0)
      throw this.bad(
        `refcount table entry ${index} is 0x${offset.toString(16)}, not a multiple of the ` +
          'cluster size',
      );
    if (offset >= this.file.length)
      throw this.bad(
        `refcount table entry ${index} is 0x${offset.toString(16)}, beyond the end of the file`,
      );
    return offset;
  }

  /** Of one block, by clusters of the file; the counts of this moment. */
  async block(index: number): Promise<(cluster: number) => number> {
    const offset = index < this.tableEntries ? this.blockOffset(index) : 0;
    if (offset === 0) return () => 0;
    const { data } = await this.blocks.load(offset);
    return cluster => readRefcount(data, cluster % this.perBlock, this.header.refcountBits);
  }

  async get(cluster: number): Promise<number> {
    const index = Math.floor(cluster / this.perBlock);
    if (index >= this.tableEntries) return 0;
    const offset = this.blockOffset(index);
    if (offset === 0) return 0;
    return readRefcount(
      (await this.blocks.load(offset)).data,
      cluster % this.perBlock,
      this.header.refcountBits,
    );
  }

  async change(cluster: number, by: 1 | -1): Promise<number> {
    const old = await this.get(cluster);
    const count = old + by;
    if (count < 0) throw this.bad(`the refcount of cluster ${cluster} falls below 0`);
    // One of 64 bits may have been too large for a number: what is written back would be another.
    if (Math.max(old, count) > this.max)
      throw ioError(
        'EIO',
        `qcow2: the refcount of cluster ${cluster} does not fit ${this.header.refcountBits} bits`,
      );
    await this.set(cluster, count);
    return count;
  }

  async set(cluster: number, count: number): Promise<void> {
    const index = Math.floor(cluster / this.perBlock);
    let offset = index < this.tableEntries ? this.blockOffset(index) : 0;
    if (offset === 0) {
      if (count === 0) return;
      offset = await this.addBlock(index);
    }
    const block = await this.blocks.load(offset);
    const { refcountBits } = this.header;
    const at = Math.floor(((cluster % this.perBlock) * refcountBits) / 8);
    writeRefcount(block.data, cluster % this.perBlock, refcountBits, count);
    this.blocks.touch(block, at, Math.max(1, refcountBits / 8));
    if (count === 0) this.hint = Math.min(this.hint, cluster);
  }

  /**
   * Neighbouring free clusters, at most so many and at least one, counted once each. The file is
   * long enough for them.
   */
  async allocate(wanted: number, exactly = false): Promise<{ offset: number; count: number }> {
    this.file.debugEvent('cluster_alloc');
    for (let from = this.hint, atHint = true; ;) {
      const first = await this.nextFree(from);
      if (atHint) this.hint = first;
      const count = await this.freeFrom(first, wanted);
      if (exactly && count < wanted) {
        from = first + count + 1;
        atHint = false;
        continue;
      }
      // A new refcount block may stand where we wanted to be: then look again.
      const missing = this.missingBlock(first, count);
      if (missing !== undefined) {
        await this.addBlock(missing);
        continue;
      }
      await this.fileReaches((first + count) * this.header.clusterSize);
      await this.take(first, count);
      if (atHint) this.hint = first + count;
      return { offset: first * this.header.clusterSize, count };
    }
  }

  /** All blocks are empty but for what `keep` counts: for make-empty. */
  async reset(keep: (cluster: number) => boolean): Promise<void> {
    for (let index = 0, used = this.usedEntries; index < used; index++) {
      const offset = this.blockOffset(index);
      if (offset === 0) continue;
      const block = await this.blocks.load(offset);
      const fresh = Buffer.alloc(block.data.length);
      for (let n = 0; n < this.perBlock; n++)
        if (keep(index * this.perBlock + n)) writeRefcount(fresh, n, this.header.refcountBits, 1);
      if (fresh.equals(block.data)) continue;
      fresh.copy(block.data);
      this.blocks.touch(block, 0, fresh.length);
    }
    this.hint = 0;
  }

  /** The first free cluster from here on. */
  private async nextFree(from: number): Promise<number> {
    for (let cluster = from; ;) {
      const index = Math.floor(cluster / this.perBlock);
      const offset = index < this.tableEntries ? this.blockOffset(index) : 0;
      const data = offset === 0 ? undefined : (await this.blocks.load(offset)).data;
      for (const end = (index + 1) * this.perBlock; cluster < end; cluster++) {
        if (this.isFree(data, cluster)) return cluster;
      }
    }
  }

  /** Free clusters from a free one on, at most so many. */
  private async freeFrom(first: number, most: number): Promise<number> {
    for (let cluster = first; ;) {
      const index = Math.floor(cluster / this.perBlock);
      const offset = index < this.tableEntries ? this.blockOffset(index) : 0;
      const data = offset === 0 ? undefined : (await this.blocks.load(offset)).data;
      for (const end = (index + 1) * this.perBlock; cluster < end; cluster++) {
        if (cluster === first + most || !this.isFree(data, cluster)) return cluster - first;
      }
    }
  }

  private isFree(block: Buffer | undefined, cluster: number): boolean {
    return (
      !this.fixed.has(cluster) &&
      (!block || readRefcount(block, cluster % this.perBlock, this.header.refcountBits) === 0)
    );
  }

  /** Free clusters whose blocks are there. */
  private async take(first: number, count: number): Promise<void> {
    for (let cluster = first; cluster < first + count;) {
      const index = Math.floor(cluster / this.perBlock);
      const block = await this.blocks.load(this.blockOffset(index));
      const { refcountBits } = this.header;
      for (
        const end = Math.min(first + count, (index + 1) * this.perBlock);
        cluster < end;
        cluster++
      ) {
        writeRefcount(block.data, cluster % this.perBlock, refcountBits, 1);
        this.blocks.touch(
          block,
          Math.floor(((cluster % this.perBlock) * refcountBits) / 8),
          Math.max(1, refcountBits / 8),
        );
      }
    }
  }

  private missingBlock(first: number, count: number): number | undefined {
    for (
      let index = Math.floor(first / this.perBlock);
      index * this.perBlock < first + count;
      index++
    ) {
      if (index >= this.tableEntries || this.blockOffset(index) === 0) return index;
    }
    return undefined;
  }

  /** Where no block is, every cluster is free: the block takes the first one it counts itself. */
  private async addBlock(index: number): Promise<number> {
    const { clusterSize, refcountBits } = this.header;
    if (index >= this.tableEntries) await this.growTable(index);
    const known = this.blockOffset(index);
    if (known !== 0) return known;
    let own = 0;
    while (this.fixed.has(index * this.perBlock + own)) own++;
    if (own >= this.perBlock) throw this.bad(`no room for the refcount block ${index}`);
    const offset = (index * this.perBlock + own) * clusterSize;
    const data = Buffer.alloc(clusterSize);
    writeRefcount(data, own, refcountBits, 1);
    await this.fileReaches(offset + clusterSize);
    this.file.debugEvent('refblock_alloc_write');
    await this.file.pwrite(offset, data);
    await this.file.flush();
    this.file.debugEvent('refblock_alloc_hookup');
    const entry = Buffer.alloc(8);
    writePointer(entry, 0, offset, false);
    await this.file.pwrite(this.header.refcountTableOffset + index * 8, entry);
    entry.copy(this.table, index * 8);
    this.fixed.add(offset / clusterSize);
    return offset;
  }

  /**
   * A longer refcount table, with the blocks that count it, where everything is free; the header
   * changes last, in one write.
   */
  private async growTable(index: number): Promise<void> {
    const { clusterSize, refcountBits } = this.header;
    const oldOffset = this.header.refcountTableOffset;
    const oldClusters = this.header.refcountTableClusters;
    let clusters = Math.ceil(((index + 2) * 1.5 * 8) / clusterSize);
    let blocks = 1;
    for (;;) {
      clusters = Math.max(clusters, Math.ceil(((index + blocks) * 8) / clusterSize));
      const needed = Math.ceil((clusters + blocks) / this.perBlock);
      if (needed <= blocks) break;
      blocks = needed;
    }
    if (clusters * clusterSize > MAX_REFCOUNT_TABLE_BYTES)
      throw ioError('ENOSPC', 'qcow2: the refcount table would be longer than 8 MiB');
    const first = index * this.perBlock;
    for (let n = 0; n < blocks + clusters; n++)
      if (this.fixed.has(first + n))
        throw this.bad(`metadata stands at cluster ${first + n}, which no refcount block counts`);
    const grown = Buffer.alloc(clusters * clusterSize);
    this.table.copy(grown);
    await this.fileReaches((first + blocks + clusters) * clusterSize);
    this.file.debugEvent('refblock_alloc_write_table');
    for (let b = 0; b < blocks; b++) {
      const data = Buffer.alloc(clusterSize);
      for (let n = 0; n < this.perBlock && b * this.perBlock + n < blocks + clusters; n++)
        writeRefcount(data, n, refcountBits, 1);
      await this.file.pwrite((first + b) * clusterSize, data);
      writePointer(grown, index + b, (first + b) * clusterSize, false);
    }
    const offset = (first + blocks) * clusterSize;
    await this.file.pwrite(offset, grown);
    await this.file.flush();
    const fields = Buffer.alloc(12);
    writeOffset(fields, offset, 0);
    fields.writeUInt32BE(clusters, 8);
    this.file.debugEvent('refblock_alloc_switch_table');
    await this.file.pwrite(HeaderAt.REFCOUNT_TABLE, fields);
    await this.file.flush();
    this.header.refcountTableOffset = offset;
    this.header.refcountTableClusters = clusters;
    this.table = grown;
    for (let n = 0; n < blocks + clusters; n++) this.fixed.add(first + n);
    for (let n = 0; n < oldClusters; n++) {
      this.fixed.delete(oldOffset / clusterSize + n);
      await this.change(oldOffset / clusterSize + n, -1);
    }
  }

  private async fileReaches(end: number): Promise<void> {
    if (this.file.length >= end) return;
    const step = Math.min(
      MAX_GROW_BYTES,
      Math.max(1, Math.floor(end / 16 / GROW_BYTES)) * GROW_BYTES,
    );
    await this.file.resize(Math.ceil(end / step) * step);
  }
}
