/**
 * Tables of one cluster each (L2 tables, refcount blocks), read when needed and written back when
 * told, sector by sector. Bounded by bytes: clean ones make room, the oldest first; when none is
 * clean the owner must write back before it loads another.
 */
import { assert } from '../../../base/errors.js';
import type { BlockNode } from '../../contract/node.js';

export interface CachedTable {
  /** Where it stands in the file. */
  readonly offset: number;
  readonly data: Buffer;
  /** Bytes that the file does not have yet: from..to; none when from >= to. */
  from: number;
  to: number;
}

const SECTOR = 512;

export class TableCache {
  /** By offset; the one used last is last. */
  private readonly tables = new Map<number, CachedTable>();
  private dirtyTables = 0;
  private readonly bound: number;

  constructor(
    private readonly file: BlockNode,
    private readonly clusterSize: number,
    maxBytes: number,
    private readonly loadEvent: 'l2_load' | 'refblock_load',
  ) {
    this.bound = Math.max(4, Math.floor(maxBytes / clusterSize));
  }

  get dirty(): boolean {
    return this.dirtyTables > 0;
  }

  /** Nearly all tables of the cache wait to be written. */
  get crowded(): boolean {
    return this.dirtyTables >= this.bound - 2;
  }

  cached(offset: number): CachedTable | undefined {
    return this.tables.get(offset);
  }

  async load(offset: number): Promise<CachedTable> {
    const known = this.tables.get(offset);
    if (known) {
      this.tables.delete(offset);
      this.tables.set(offset, known);
      return known;
    }
    this.file.debugEvent(this.loadEvent);
    const data = await this.file.pread(offset, this.clusterSize);
    // Another request may have read the table in between.
    return this.tables.get(offset) ?? this.insert({ offset, data, from: SECTOR, to: 0 });
  }

  /** A table that has just got its cluster: all of it is to be written. */
  create(offset: number, content?: Buffer): CachedTable {
    assert(!this.tables.has(offset), 'qcow2: a new table stands where another is');
    const data = content ? Buffer.from(content) : Buffer.alloc(this.clusterSize);
    const table = this.insert({ offset, data, from: SECTOR, to: 0 });
    this.touch(table, 0, this.clusterSize);
    return table;
  }

  /** Bytes of the table were changed. */
  touch(table: CachedTable, at: number, length: number): void {
    if (table.from >= table.to) {
      this.dirtyTables++;
      table.from = at;
      table.to = at + length;
    } else {
      table.from = Math.min(table.from, at);
      table.to = Math.max(table.to, at + length);
    }
  }

  /** The table is gone from the image. */
  forget(offset: number): void {
    const table = this.tables.get(offset);
    if (table && table.from < table.to) this.dirtyTables--;
    this.tables.delete(offset);
  }

  clear(): void {
    this.tables.clear();
    this.dirtyTables = 0;
  }

  /** What fails stays dirty. */
  async writeBack(): Promise<void> {
    if (!this.dirty) return;
    for (const table of [...this.tables.values()]) {
      if (table.from >= table.to) continue;
      const from = table.from - (table.from % SECTOR);
      const to = Math.ceil(table.to / SECTOR) * SECTOR;
      await this.file.pwrite(table.offset + from, Buffer.from(table.data.subarray(from, to)));
      table.from = SECTOR;
      table.to = 0;
      this.dirtyTables--;
    }
  }

  private insert(table: CachedTable): CachedTable {
    if (this.tables.size >= this.bound) {
      for (const [offset, old] of this.tables) {
        if (old.from < old.to) continue;
        this.tables.delete(offset);
        break;
      }
    }
    this.tables.set(table.offset, table);
    return table;
  }
}
