/**
 * The mapping of an image: L1, L2 tables and refcounts, and the order in which they reach the file.
 *
 * Changes gather in memory. commit() brings them out so that a crash between any two writes leaves
 * at most unused clusters that are counted: refcounts and data first, then L2 tables, then L1
 * entries; a cluster that lost its reference is free only after that. Callers hold the lock of the
 * driver around everything that changes the mapping.
 */
import { VmError } from '../../../base/errors.js';
import { ioError } from '../../contract/io-error.js';
import type { BlockNode } from '../../contract/node.js';
import { type Bitmaps, markInUse, readBitmaps, useOfBitmaps } from './bitmaps.js';
import {
  type Cluster,
  readCluster,
  readPointer,
  writeCluster,
  writeCompressed,
  writePointer,
} from './entries.js';
import { HeaderAt, MAX_L1_BYTES, type Qcow2Header, writeOffset } from './header.js';
import { Refcounts } from './refcounts.js';
import type { Snapshot } from './snapshots.js';
import { type CachedTable, TableCache } from './table-cache.js';

const L2_CACHE_BYTES = 8 * 1024 * 1024;

interface MetadataOptions {
  snapshots: readonly Snapshot[];
  readOnly: boolean;
  /**
   * For a check: tables may stand in each other's place. Otherwise a change of one would be a
   * change of the other.
   */
  overlapping?: boolean;
}

export class Metadata {
  readonly l2: TableCache;
  /** The first tables that were found in one place. */
  overlap?: string;
  /** Entries of an L2 table. */
  readonly perTable: number;
  /** Indexes of L1 entries that the file does not have yet. */
  private readonly dirtyL1 = new Set<number>();
  /** Clusters that lose one reference with the next commit. */
  private dropped: number[] = [];
  private needsSync = false;
  /** Where the next compressed cluster may go, if not at the start of a cluster. */
  private freeByte = 0;

  private constructor(
    readonly file: BlockNode,
    readonly header: Qcow2Header,
    private l1: Buffer,
    readonly refcounts: Refcounts,
    /**
     * Clusters of tables, headers and snapshots: never overwritten, whatever their refcount says.
     */
    private readonly fixed: Set<number>,
    readonly bitmaps: Bitmaps,
  ) {
    this.l2 = new TableCache(file, header.clusterSize, L2_CACHE_BYTES, 'l2_load');
    this.perTable = header.clusterSize / 8;
  }

  /**
   * Only a writer needs to know what must not be overwritten. A reader can use an image of which
   * other tables are damaged.
   */
  static async open(
    file: BlockNode,
    header: Qcow2Header,
    options: MetadataOptions,
  ): Promise<Metadata> {
    const l1 =
      header.l1Entries > 0
        ? await file.pread(header.l1Offset, header.l1Entries * 8)
        : Buffer.alloc(0);
    const fixed = new Set<number>();
    const found = { bad: (text: string) => ioError('EIO', `qcow2: ${text}`) };
    const bitmaps = await readBitmaps(file, header);
    const metadata = new Metadata(
      file,
      header,
      l1,
      await Refcounts.open(file, header, fixed, text => found.bad(text)),
      fixed,
      bitmaps,
    );
    if (!options.readOnly) await metadata.reserve(options.snapshots);
    if (metadata.overlap !== undefined && !options.overlapping) throw found.bad(metadata.overlap);
    found.bad = text => metadata.bad(text);
    return metadata;
  }

  /** The tables contradict themselves: they must not be changed any more. */
  onCorrupt: (text: string) => void = () => undefined;

  private bad(text: string): VmError {
    this.onCorrupt(text);
    return ioError('EIO', `qcow2: ${text}`);
  }

  get l1Entries(): number {
    return this.header.l1Entries;
  }

  /** L2 table of an L1 entry, 0 if there is none. */
  tableOffset(index: number): number {
    const { offset } = readPointer(this.l1, index);
    if (offset === 0) return 0;
    if (offset % this.header.clusterSize !== 0)
      throw this.bad(
        `L1 entry ${index} is 0x${offset.toString(16)}, not a multiple of the cluster size`,
      );
    if (
      offset + this.header.clusterSize >
      Math.ceil(this.file.length / this.header.clusterSize) * this.header.clusterSize
    )
      throw this.bad(`L1 entry ${index} is 0x${offset.toString(16)}, beyond the end of the file`);
    return offset;
  }

  /** For a repair: clusters that are referred to are never given away. */
  fix(clusters: Iterable<number>): void {
    for (const cluster of clusters) this.fixed.add(cluster);
  }

  isFixed(cluster: number): boolean {
    return this.fixed.has(cluster);
  }

  /** At once if the table is in memory, else undefined. cluster: of the disk. */
  lookUpCached(cluster: number): Cluster | undefined {
    const offset = this.tableOffset(Math.floor(cluster / this.perTable));
    if (offset === 0) return unallocated;
    const table = this.l2.cached(offset);
    return table && this.entry(table, cluster);
  }

  async lookUp(cluster: number): Promise<Cluster> {
    const offset = this.tableOffset(Math.floor(cluster / this.perTable));
    if (offset === 0) return unallocated;
    return this.entry(await this.l2.load(offset), cluster);
  }

  /** For a change: the table may be overwritten. */
  async writableTable(cluster: number): Promise<CachedTable> {
    if (this.l2.crowded || this.refcounts.blocks.crowded) await this.commit();
    const index = Math.floor(cluster / this.perTable);
    const { copied } = readPointer(this.l1, index);
    const offset = this.tableOffset(index);
    if (offset !== 0 && copied) return this.l2.load(offset);
    const old = offset === 0 ? undefined : await this.l2.load(offset);
    const fresh = await this.refcounts.allocate(1);
    this.file.debugEvent('l2_alloc_write');
    const table = this.l2.create(fresh.offset, old?.data);
    this.fixed.add(fresh.offset / this.header.clusterSize);
    writePointer(this.l1, index, fresh.offset);
    this.dirtyL1.add(index);
    if (offset !== 0) this.drop(offset, this.header.clusterSize);
    return table;
  }

  /** Points a cluster of the disk at something else; what it pointed at loses a reference. */
  async map(cluster: number, kind: 'unallocated' | 'zero' | 'data', offset: number): Promise<void> {
    const table = await this.writableTable(cluster);
    const old = this.entry(table, cluster);
    const index = cluster % this.perTable;
    writeCluster(table.data, index, kind, offset);
    this.l2.touch(table, index * 8, 8);
    this.release(old, offset);
  }

  /** Neighbouring clusters, at neighbouring places of the file. */
  async mapRun(first: number, count: number, offset: number): Promise<void> {
    for (let n = 0; n < count;) {
      const table = await this.writableTable(first + n);
      const index = (first + n) % this.perTable;
      const here = Math.min(count - n, this.perTable - index);
      for (let i = 0; i < here; i++) {
        const to = offset + (n + i) * this.header.clusterSize;
        const old = this.entry(table, first + n + i);
        writeCluster(table.data, index + i, 'data', to);
        this.release(old, to);
      }
      this.l2.touch(table, index * 8, here * 8);
      n += here;
    }
  }

  async mapCompressed(cluster: number, offset: number, length: number): Promise<void> {
    const table = await this.writableTable(cluster);
    const old = this.entry(table, cluster);
    const index = cluster % this.perTable;
    writeCompressed(table.data, index, this.header.clusterBits, offset, length);
    this.l2.touch(table, index * 8, 8);
    this.release(old, 0);
  }

  /** A cluster that never became part of the image. */
  async giveBack(offset: number, count: number): Promise<void> {
    for (let n = 0; n < count; n++)
      await this.refcounts.change(offset / this.header.clusterSize + n, -1);
  }

  /** Nothing waits for a commit. */
  get clean(): boolean {
    return (
      !this.l2.dirty &&
      !this.refcounts.blocks.dirty &&
      this.dirtyL1.size === 0 &&
      this.dropped.length === 0 &&
      !this.needsSync
    );
  }

  /** Data went into the file: the next commit of the mapping must sync it. */
  wrote(): void {
    this.needsSync = true;
  }

  /** sync: survives the loss of the host; otherwise only that of the process. */
  async commit(sync = true): Promise<void> {
    const mapping = this.l2.dirty || this.dirtyL1.size > 0;
    if (this.refcounts.blocks.dirty) {
      this.file.debugEvent('refblock_update');
      await this.refcounts.blocks.writeBack();
      this.needsSync = true;
    }
    if (mapping) {
      if (sync) await this.file.flush();
      this.file.debugEvent('l2_update');
      await this.l2.writeBack();
      if (this.dirtyL1.size > 0) {
        if (sync) await this.file.flush();
        await this.writeL1();
      }
      this.needsSync = true;
    }
    if (sync && this.needsSync) {
      this.needsSync = false;
      this.file.debugEvent('flush_to_disk');
      try {
        await this.file.flush();
      } catch (error) {
        this.needsSync = true;
        throw error;
      }
    }
    // Without a sync the old mapping may come back with a crash: nothing of it may be overwritten
    // yet.
    if (!sync) return;
    const dropped = this.dropped;
    if (dropped.length > 0) this.file.debugEvent('cluster_free');
    this.dropped = [];
    for (const cluster of dropped) {
      if ((await this.refcounts.change(cluster, -1)) > 0) continue;
      // The new owner of this cluster gets all of it, so its rest is not used for compressed
      // clusters any more.
      if (cluster === Math.floor(this.freeByte / this.header.clusterSize)) this.freeByte = 0;
      this.l2.forget(cluster * this.header.clusterSize);
      this.fixed.delete(cluster);
    }
  }

  /**
   * Room for a compressed cluster, behind the last one if that is in the same cluster of the file;
   * counted.
   */
  async allocateBytes(length: number): Promise<number> {
    const { clusterSize } = this.header;
    const left = clusterSize - (this.freeByte % clusterSize);
    const shares =
      this.freeByte % clusterSize !== 0 &&
      left >= length &&
      (await this.refcounts.get(Math.floor(this.freeByte / clusterSize))) < this.refcounts.max;
    if (shares) await this.refcounts.change(Math.floor(this.freeByte / clusterSize), 1);
    else this.freeByte = (await this.refcounts.allocate(1)).offset;
    const offset = this.freeByte;
    this.freeByte += length;
    return offset;
  }

  /**
   * Drops every cluster of the disk. The caller knows that there are no snapshots. Costs what the
   * tables hold; nothing if that is nothing.
   */
  async empty(): Promise<void> {
    for (let index = 0; index < this.l1Entries; index++) {
      if (readPointer(this.l1, index).offset === 0) continue;
      this.fixed.delete(this.tableOffset(index) / this.header.clusterSize);
      writePointer(this.l1, index, 0);
      this.dirtyL1.add(index);
    }
    if (this.dirtyL1.size === 0) return;
    this.file.debugEvent('empty_image_prepare');
    this.l2.clear();
    await this.writeL1();
    await this.file.flush();
    this.dropped = [];
    this.freeByte = 0;
    await this.refcounts.reset(cluster => this.fixed.has(cluster));
    await this.refcounts.blocks.writeBack();
    this.needsSync = true;
  }

  /**
   * For a longer disk: the header changes last, in one write, so that table and size belong
   * together.
   */
  async resize(size: number): Promise<void> {
    const { header } = this;
    const entries = Math.max(1, Math.ceil(size / (header.clusterSize * this.perTable)));
    if (entries * 8 > MAX_L1_BYTES)
      throw new VmError(
        `qcow2: a disk of ${size} bytes would need an L1 table longer than 32 MiB; larger ` +
          'clusters help',
      );
    await this.commit();
    const old = { offset: header.l1Offset, entries: header.l1Entries };
    const fields = Buffer.alloc(24);
    writeOffset(fields, size, 0);
    fields.writeUInt32BE(Math.max(entries, old.entries), 12);
    writeOffset(fields, old.offset, 16);
    if (entries > old.entries) {
      const clusters = Math.ceil((entries * 8) / header.clusterSize);
      const { offset } = await this.refcounts.allocate(clusters, true);
      const grown = Buffer.alloc(clusters * header.clusterSize);
      this.l1.copy(grown);
      await this.refcounts.blocks.writeBack();
      this.file.debugEvent('l1_grow_write_table');
      await this.file.pwrite(offset, grown);
      await this.file.flush();
      writeOffset(fields, offset, 16);
      this.l1 = grown.subarray(0, entries * 8);
      Object.assign(header, { l1Offset: offset, l1Entries: entries });
      for (let n = 0; n < clusters; n++) this.fixed.add(offset / header.clusterSize + n);
    }
    this.file.debugEvent('l1_grow_activate_table');
    // Bytes 32..35, crypt_method, are zero: encrypted images are refused.
    await this.file.pwrite(HeaderAt.SIZE, fields);
    await this.file.flush();
    header.size = size;
    if (old.offset === header.l1Offset) return;
    for (
      let c = old.offset / header.clusterSize;
      c * header.clusterSize < old.offset + old.entries * 8;
      c++
    ) {
      this.fixed.delete(c);
      await this.refcounts.change(c, -1);
    }
    await this.commit();
  }

  async writeIncompatible(): Promise<void> {
    if (this.header.version === 2) return;
    const field = Buffer.alloc(8);
    field.writeUInt32BE(this.header.incompatible, 4);
    await this.file.pwrite(HeaderAt.INCOMPATIBLE, field);
    await this.file.flush();
  }

  /**
   * What we do not keep up to date is stale from the first change on: bitmaps, if the content
   * changes, and extensions that we do not know.
   */
  async beforeFirstChange(contentStays: boolean): Promise<void> {
    const { autoclear } = this.header;
    if (autoclear.others) {
      await this.file.pwrite(
        HeaderAt.AUTOCLEAR,
        Buffer.from([0, 0, 0, 0, 0, 0, 0, autoclear.bitmaps ? 1 : 0]),
      );
      await this.file.flush();
      autoclear.others = false;
    }
    if (!contentStays) await markInUse(this.file, this.bitmaps);
  }

  /** Changes where the cluster stood lose it; `kept`: unless it stays there. */
  private release(old: Cluster, kept: number): void {
    if (old.offset === 0 || (old.offset === kept && old.kind !== 'compressed')) return;
    this.drop(old.offset, old.kind === 'compressed' ? old.bytes : this.header.clusterSize);
  }

  private drop(offset: number, length: number): void {
    const { clusterSize } = this.header;
    for (
      let cluster = Math.floor(offset / clusterSize);
      cluster * clusterSize < offset + length;
      cluster++
    )
      this.dropped.push(cluster);
  }

  private entry(table: CachedTable, cluster: number): Cluster {
    const { clusterBits, clusterSize, version } = this.header;
    const found = readCluster(table.data, cluster % this.perTable, clusterBits, version);
    if (found.offset === 0) {
      if (found.kind === 'compressed') throw this.badEntry(table, cluster, 'offset is 0');
      return found;
    }
    if (found.kind !== 'compressed' && found.offset % clusterSize !== 0)
      throw this.badEntry(
        table,
        cluster,
        `offset 0x${found.offset.toString(16)} is not a multiple of the cluster size`,
      );
    if (found.offset >= this.file.length)
      throw this.badEntry(
        table,
        cluster,
        `offset 0x${found.offset.toString(16)} is beyond the end of the file`,
      );
    const last = found.kind === 'compressed' ? found.offset + found.bytes - 1 : found.offset;
    if (
      this.fixed.has(Math.floor(found.offset / clusterSize)) ||
      this.fixed.has(Math.floor(last / clusterSize))
    )
      throw this.badEntry(
        table,
        cluster,
        `offset 0x${found.offset.toString(16)} is that of metadata`,
      );
    return found;
  }

  private badEntry(table: CachedTable, cluster: number, what: string): VmError {
    return this.bad(
      `L2 entry of cluster ${cluster} (table at 0x${table.offset.toString(16)}): ${what}`,
    );
  }

  private async writeL1(): Promise<void> {
    this.file.debugEvent('l1_update');
    const sectors = new Set([...this.dirtyL1].map(index => Math.floor(index / 64)));
    for (const sector of sectors) {
      const from = sector * 512;
      await this.file.pwrite(
        this.header.l1Offset + from,
        Buffer.from(this.l1.subarray(from, Math.min(from + 512, this.l1.length))),
      );
    }
    this.dirtyL1.clear();
  }

  private async reserve(snapshots: readonly Snapshot[]): Promise<void> {
    const { header, fixed } = this;
    const range = (offset: number, bytes: number, what: string) => {
      for (
        let c = Math.floor(offset / header.clusterSize);
        c * header.clusterSize < offset + bytes && this.overlap === undefined;
        c++
      ) {
        if (fixed.has(c))
          this.overlap =
            `the ${what} at 0x${offset.toString(16)} and other metadata stand in the same ` +
            `cluster, ${c}`;
        fixed.add(c);
      }
    };
    range(0, 1, 'header');
    range(header.l1Offset, header.l1Entries * 8, 'L1 table');
    range(
      header.refcountTableOffset,
      header.refcountTableClusters * header.clusterSize,
      'refcount table',
    );
    if (header.snapshots > 0) range(header.snapshotsOffset, 1, 'snapshot table');
    for (const { l1Offset, l1Entries } of snapshots)
      range(l1Offset, l1Entries * 8, 'L1 table of a snapshot');
    for (let index = 0, used = this.refcounts.usedEntries; index < used; index++) {
      const offset = this.refcounts.blockOffset(index);
      if (offset !== 0) range(offset, 1, `refcount block ${index}`);
    }
    for (let index = 0; index < header.l1Entries; index++) {
      const offset = this.tableOffset(index);
      if (offset !== 0) range(offset, 1, `L2 table ${index}`);
    }
    await useOfBitmaps(this.file, header, this.bitmaps, range);
  }
}

/** Where there is no L2 table at all. */
export const unallocated: Cluster = { kind: 'unallocated', offset: 0, copied: false, bytes: 0 };
