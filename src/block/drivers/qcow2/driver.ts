/**
 * Format `qcow2`: clusters found through two levels of tables, over an optional backing node.
 * Requests of clusters that the image owns go straight to the file, many at once; what changes the
 * mapping has its clusters alone. metadata.ts says in which order things become durable.
 */
import { assert, VmError } from '../../../base/errors.js';
import {
  type BlockStatus,
  type Extent,
  isZero,
  type Overlay,
  SECTOR,
  type Held,
} from '../../contract/driver.js';
import { ioError } from '../../contract/io-error.js';
import type { Adopting, BlockNode } from '../../contract/node.js';
import { RangeLock } from '../../../base/range-lock.js';
import { checkQcow2 } from './check.js';
import { liveBitmaps } from './bitmaps.js';
import { compress, readCompressed } from './compressed.js';
import type { Cluster } from './entries.js';
import { type Fill, fillClusters } from './fill.js';
import {
  clusterBitsOf,
  Incompatible,
  parseHeader,
  type Qcow2Header,
  withBacking,
} from './header.js';
import { Metadata, unallocated } from './metadata.js';
import { readSnapshots, type Snapshot } from './snapshots.js';

/** Neighbouring bytes of one kind. */
interface Run {
  kind: Cluster['kind'];
  at: number;
  length: number;
  /** data: where in the file. */
  host: number;
  cluster: Cluster;
}
/** Clusters that a write is about to fill. fresh: they are not part of the disk yet. */
interface Plan {
  host: number;
  clusters: number;
  fresh: boolean;
  allocated: boolean;
}

const ZERO_STEP = 1024 * 1024;

export async function readHeader(file: BlockNode): Promise<Qcow2Header> {
  const head = await file.pread(0, Math.min(512, file.length));
  const bits = clusterBitsOf(head);
  return parseHeader(await file.pread(0, Math.min(2 ** bits, file.length)), file.length);
}

export interface Qcow2Options {
  readOnly: boolean;
  backing?: BlockNode;
  /**
   * Told once, when the tables were found to contradict themselves; the image takes no writes from
   * then on.
   */
  onCorrupt?: (text: string) => void;
}

/** Before the first write. */
async function makeSound(file: BlockNode, header: Qcow2Header): Promise<void> {
  if (header.incompatible & Incompatible.CORRUPT) {
    throw new VmError(
      `qcow2: the image of node '${file.name}' is marked corrupt, so it is only opened for reading`,
      { hint: "'colo image check -r all' or qemu-img can repair it" },
    );
  }
  if (header.incompatible & Incompatible.DIRTY) await repairDirty(file, header);
}

async function repairDirty(file: BlockNode, header: Qcow2Header): Promise<void> {
  const { corruptions, messages } = await checkQcow2(file, header, 'all');
  if (corruptions === 0) return;
  throw new VmError(
    `qcow2: the image of node '${file.name}' is marked dirty, and its refcounts could not be ` +
      `made right: ${messages.find(m => m.startsWith('ERROR')) ?? ''}`,
  );
}

export class Qcow2Driver implements Overlay, Adopting {
  readonly format = 'qcow2';
  readonly maxTransfer = 8 * 1024 * 1024;
  /** By bytes of the disk, whole clusters. */
  private readonly clusters = new RangeLock();
  /** The mapping changes under it. */
  private readonly mapping = new RangeLock();
  private held = 0;
  private touched = false;
  private contentKept = false;
  /** Why nothing may be written any more. */
  private corruption?: string;
  private marking: Promise<void> = Promise.resolve();

  private constructor(
    private readonly file: BlockNode,
    readonly header: Qcow2Header,
    public metadata: Metadata,
    readonly snapshots: readonly Snapshot[],
    private readonly options: Qcow2Options,
  ) {
    metadata.onCorrupt = text => this.foundCorrupt(text);
  }

  /**
   * header: as read before, to find the backing node. An image whose writer died with lazy
   * refcounts is repaired first.
   */
  static async open(
    file: BlockNode,
    header: Qcow2Header,
    options: Qcow2Options,
  ): Promise<Qcow2Driver> {
    const readOnly = options.readOnly || file.readOnly;
    if (!readOnly) await makeSound(file, header);
    const snapshots = (await readSnapshots(file, header)).list;
    return new Qcow2Driver(
      file,
      header,
      await Metadata.open(file, header, { snapshots, readOnly }),
      snapshots,
      { ...options },
    );
  }

  get length(): number {
    return Math.ceil(this.header.size / SECTOR) * SECTOR;
  }

  get readOnly(): boolean {
    return this.options.readOnly || this.file.readOnly;
  }

  async reopen(readOnly: boolean): Promise<void> {
    if (readOnly) await this.close();
    else {
      await makeSound(this.file, this.header);
      this.metadata = await Metadata.open(this.file, this.header, {
        snapshots: this.snapshots,
        readOnly,
      });
      this.metadata.onCorrupt = text => this.foundCorrupt(text);
    }
    this.options.readOnly = readOnly;
  }

  replaceChild(edge: string, child: BlockNode | undefined): void {
    assert(edge === 'backing', 'the file of a qcow2 image stays');
    this.options.backing = child;
  }

  /** In the header: which image is read where this one holds nothing. */
  async setBackingFile(name: string | undefined, format: string | undefined): Promise<void> {
    await this.mapping.runAll('exclusive', async () => {
      await this.metadata.commit();
      const first = await this.file.pread(0, Math.min(this.header.clusterSize, this.file.length));
      await this.file.pwrite(0, withBacking(first, this.header, name, format));
      await this.file.flush();
    });
    this.header.backingFile = name;
    this.header.backingFormat = format;
  }

  /** Persistent bitmaps that still follow the disk. */
  get liveBitmaps(): string[] {
    return liveBitmaps(this.metadata.bitmaps);
  }

  /** What is written from now on is what a reader sees already: bitmaps stay true. */
  contentStays(): void {
    this.contentKept = true;
  }

  /** Copy-before-write copies whole clusters, so that none is ever half there. */
  get unit(): number {
    return this.header.clusterSize;
  }

  get bytes(): number {
    return this.held * this.header.clusterSize;
  }

  pread(offset: number, length: number, into?: Buffer): Promise<Buffer> {
    return this.exclude(offset, length, 'shared', () => this.read(offset, length, into));
  }

  async pwrite(offset: number, data: Uint8Array, fua: boolean): Promise<void> {
    await this.beforeChange();
    const inPlace = await this.exclude(offset, data.length, 'shared', () =>
      this.overwrite(offset, data),
    );
    if (!inPlace)
      await this.exclude(offset, data.length, 'exclusive', () => this.write(offset, data));
    if (fua) await this.flush();
  }

  flush(): Promise<void> {
    this.file.debugEvent('flush_to_os');
    return this.mapping.runAll('exclusive', () => this.metadata.commit());
  }

  /** The file has the mapping; it survives the process, not the host. */
  settle(): Promise<void> {
    return this.mapping.runAll('exclusive', () => this.metadata.commit(false));
  }

  /** Zeroes, so that it reads alike on every replica. */
  discard(offset: number, length: number): Promise<void> {
    return this.writeZeroes(offset, length);
  }

  async writeZeroes(offset: number, length: number): Promise<void> {
    await this.beforeChange();
    const size = this.header.clusterSize;
    const end = offset + length;
    const first = Math.min(end, Math.ceil(offset / size) * size);
    // The last cluster of the disk may be short, and is whole all the same.
    const last = end === this.length ? end : Math.max(first, end - (end % size));
    if (first > offset) await this.zeroPart(offset, first - offset);
    if (last > first) await this.zeroClusters(first, last - first);
    if (end > last) await this.zeroPart(last, end - last);
  }

  /** A cluster at once, if that saves space. For a new image; offset: of a cluster. */
  async writeCompressed(offset: number, data: Uint8Array): Promise<void> {
    const { clusterSize } = this.header;
    const whole = data.length === clusterSize ? data : Buffer.concat([data], clusterSize);
    const packed = await compress(whole, this.header.compression);
    if (!packed) return this.pwrite(offset, data, false);
    await this.beforeChange();
    await this.exclude(offset, data.length, 'exclusive', async () => {
      // Neighbours share sectors of the file, so one at a time.
      await this.mapping.runAll('exclusive', async () => {
        const host = await this.metadata.allocateBytes(packed.length);
        this.file.debugEvent('write_compressed');
        await this.writeBytes(host, packed);
        this.metadata.wrote();
        await this.metadata.mapCompressed(offset / clusterSize, host, packed.length);
      });
    });
  }

  /**
   * Gives whole clusters that the image does not hold yet their content. fill brings it into the
   * file, from `to` on, unit by unit and without gaps, and leaves out what need not be held. Gives
   * a flag for each unit, 1 = held now; undefined: nothing was done, for the image holds part of
   * them, or fill had no way.
   */
  async fillNew(
    offset: number,
    length: number,
    unit: number,
    fill: Fill,
  ): Promise<Uint8Array | undefined> {
    if (offset % this.header.clusterSize !== 0 || length % unit !== 0) return undefined;
    await this.beforeChange();
    return this.exclude(offset, length, 'exclusive', async () => {
      if ((await this.runs(offset, length)).some(run => run.kind !== 'unallocated'))
        return undefined;
      const filling = await fillClusters(
        { metadata: this.metadata, mapping: this.mapping },
        { offset, length, unit },
        fill,
      );
      this.held += filling?.held ?? 0;
      return filling?.written;
    });
  }

  async resize(length: number): Promise<void> {
    // A snapshot of version 2 has the length of the disk, whatever that is by then; a bitmap's
    // table has so many bits.
    if (this.header.version === 2 && this.snapshots.length > 0)
      throw new VmError("Can't resize a v2 image which has snapshots", {
        hint: 'qemu-img amend -o compat=1.1 makes it one of version 3.',
      });
    const { list } = this.metadata.bitmaps;
    if (list.length > 0)
      throw new VmError(
        'an image with persistent bitmaps cannot change its length: ' +
          `'${list.map(({ name }) => name).join("', '")}'`,
        { hint: 'qemu-img bitmap --remove takes one away.' },
      );
    await this.beforeChange();
    if (length < this.length) {
      if (this.snapshots.length > 0)
        throw new VmError('qcow2: an image with snapshots cannot be made shorter');
      await this.writeZeroes(length, this.length - length);
    }
    const old = this.length;
    await this.clusters.runAll('exclusive', () =>
      this.mapping.runAll('exclusive', () => this.metadata.resize(length)),
    );
    // What the backing node has beyond the old end must not come to light.
    if (this.options.backing && this.options.backing.length > old && length > old)
      await this.writeZeroes(old, Math.min(length, this.options.backing.length) - old);
  }

  async blockStatus(offset: number, length: number): Promise<BlockStatus> {
    const [run] = await this.exclude(offset, length, 'shared', () => this.runs(offset, length, 1));
    if (run.kind === 'zero') return { length: run.length, allocated: true, zero: true };
    if (run.kind === 'data')
      return {
        length: run.length,
        allocated: true,
        zero: false,
        place: { node: this.file, offset: run.host },
      };
    if (run.kind === 'compressed') return { length: run.length, allocated: true, zero: false };
    if (!this.options.backing || offset >= this.options.backing.length)
      return { length: run.length, allocated: false, zero: true };
    const below = await this.options.backing.blockStatus(
      offset,
      Math.min(run.length, this.options.backing.length - offset),
    );
    return { ...below, allocated: false };
  }

  /**
   * What the tables say of the first bytes of the range. host: where they stand, or would, in the
   * file.
   */
  async mappingAt(
    offset: number,
    length: number,
  ): Promise<{ kind: Cluster['kind']; length: number; host?: number }> {
    const [{ kind, length: alike, host, cluster }] = await this.exclude(
      offset,
      length,
      'shared',
      () => this.runs(offset, length, 1),
    );
    return {
      kind,
      length: alike,
      ...((kind === 'data' || kind === 'zero') && cluster.offset !== 0 && { host }),
    };
  }

  /** Held here, not by the backing node. */
  async heldFrom(offset: number, length: number): Promise<Held> {
    const [first] = await this.exclude(offset, length, 'shared', () =>
      this.runs(offset, length, 1),
    );
    return { held: first.kind !== 'unallocated', length: first.length };
  }

  /** What is held, by rising offset, in pieces of at most maxBytes; zero runs carry no data. */
  async *extents(maxBytes: number): AsyncGenerator<Extent> {
    const perL1 = this.metadata.perTable * this.header.clusterSize;
    for (let index = 0; index < this.metadata.l1Entries && index * perL1 < this.length; index++) {
      if (this.metadata.tableOffset(index) === 0) continue;
      const runs = await this.runs(index * perL1, Math.min(perL1, this.length - index * perL1));
      for (const run of runs) {
        if (run.kind === 'unallocated') continue;
        for (let at = run.at; at < run.at + run.length; at += maxBytes) {
          const length = Math.min(maxBytes, run.at + run.length - at);
          yield {
            offset: at,
            length,
            data: run.kind === 'zero' ? undefined : await this.pread(at, length),
          };
        }
      }
    }
  }

  /** Make-empty: everything reads from the backing node again. */
  async clear(): Promise<void> {
    if (this.snapshots.length > 0)
      throw new VmError('qcow2: an overlay that is to be emptied must not hold snapshots');
    await this.clusters.runAll('exclusive', () =>
      this.mapping.runAll('exclusive', () => this.metadata.empty()),
    );
    this.held = 0;
  }

  async close(): Promise<void> {
    if (this.readOnly) return;
    await this.marking;
    await this.mapping.runAll('exclusive', async () => {
      for (let rounds = 0; rounds < 3 && !this.metadata.clean; rounds++)
        await this.metadata.commit();
    });
  }

  describe() {
    const {
      version,
      clusterSize,
      refcountBits,
      backingFile,
      compression,
      compatible,
      incompatible,
    } = this.header;
    return {
      compat: version === 3 ? '1.1' : '0.10',
      'cluster-size': clusterSize,
      'refcount-bits': refcountBits,
      'compression-type': compression,
      'lazy-refcounts': (compatible & 1) !== 0,
      corrupt: (incompatible & Incompatible.CORRUPT) !== 0,
      snapshots: this.snapshots.length,
      ...(backingFile !== undefined && { 'backing-file': backingFile }),
    };
  }

  private exclude<T>(
    offset: number,
    length: number,
    mode: 'shared' | 'exclusive',
    body: () => Promise<T>,
  ): Promise<T> {
    const { clusterSize } = this.header;
    const start = offset - (offset % clusterSize);
    return this.clusters.run(
      start,
      Math.ceil((offset + length) / clusterSize) * clusterSize - start,
      mode,
      body,
    );
  }

  /** Writing on might overwrite what is still good. */
  private foundCorrupt(text: string): void {
    if (this.readOnly || this.corruption !== undefined) return;
    this.corruption = text;
    this.header.incompatible |= Incompatible.CORRUPT;
    this.marking = this.metadata.writeIncompatible().catch(() => undefined);
    this.options.onCorrupt?.(text);
  }

  private async beforeChange(): Promise<void> {
    if (this.corruption !== undefined)
      throw ioError(
        'EIO',
        `qcow2: the image of node '${this.file.name}' is corrupt, so it takes no more writes: ` +
          `${this.corruption}`,
      );
    if (this.touched) return;
    await this.mapping.runAll('exclusive', () => this.metadata.beforeFirstChange(this.contentKept));
    this.touched = true;
  }

  private lookUp(cluster: number): Cluster | Promise<Cluster> {
    return (
      this.metadata.lookUpCached(cluster) ??
      this.mapping.runAll('exclusive', () => this.metadata.lookUp(cluster))
    );
  }

  /** The range as runs of one kind; at most so many. */
  private async runs(offset: number, length: number, most = Infinity): Promise<Run[]> {
    const size = this.header.clusterSize;
    const perL1 = this.metadata.perTable * size;
    const out: Run[] = [];
    for (let at = offset; at < offset + length;) {
      const found = this.lookUp(Math.floor(at / size));
      const cluster = found instanceof Promise ? await found : found;
      const unit = cluster === unallocated ? perL1 : size;
      const n = Math.min(unit - (at % unit), offset + length - at);
      const host = cluster.offset + (at % size);
      const last = out[out.length - 1];
      const joins =
        last &&
        last.kind === cluster.kind &&
        cluster.kind !== 'compressed' &&
        ((cluster.offset === 0 && last.cluster.offset === 0) ||
          (last.host + last.length === host && last.cluster.copied === cluster.copied));
      if (joins) last.length += n;
      else if (out.length === most) break;
      else out.push({ kind: cluster.kind, at, length: n, host, cluster });
      at += n;
    }
    return out;
  }

  private async read(offset: number, length: number, into?: Buffer): Promise<Buffer> {
    if (length === 0) return Buffer.alloc(0);
    const runs = await this.runs(offset, length);
    if (runs.length === 1) return this.readRun(runs[0], into);
    return Buffer.concat(await Promise.all(runs.map(run => this.readRun(run))), length);
  }

  private async readRun(run: Run, into?: Buffer): Promise<Buffer> {
    if (run.kind === 'zero') return Buffer.alloc(run.length);
    if (run.kind === 'data') {
      this.file.debugEvent('read_aio');
      return this.readFile(run.host, run.length, into);
    }
    if (run.kind === 'compressed') {
      this.file.debugEvent('read_compressed');
      const data = await readCompressed(this.file, this.header, run.cluster);
      const from = run.at % this.header.clusterSize;
      return data.subarray(from, from + run.length);
    }
    const below = this.options.backing
      ? Math.max(0, Math.min(run.length, this.options.backing.length - run.at))
      : 0;
    if (below === 0) return Buffer.alloc(run.length);
    this.file.debugEvent('read_backing_aio');
    const data = await this.options.backing!.pread(run.at, below, into);
    return below === run.length ? data : Buffer.concat([data], run.length);
  }

  /** The file may end within its last cluster. */
  private async readFile(host: number, length: number, into?: Buffer): Promise<Buffer> {
    const there = Math.max(0, Math.min(length, this.file.length - host));
    const data = await this.file.pread(host, there, into);
    return there === length ? data : Buffer.concat([data], length);
  }

  /** All in clusters that are ours: no change of the mapping. */
  private async overwrite(offset: number, data: Uint8Array): Promise<boolean> {
    const runs = await this.runs(offset, data.length);
    for (const run of runs)
      if (run.kind !== 'data' || !run.cluster.copied || run.host + run.length > this.file.length)
        return false;
    this.file.debugEvent('write_aio');
    for (const run of runs)
      await this.file.pwrite(
        run.host,
        data.subarray(run.at - offset, run.at - offset + run.length),
      );
    this.metadata.wrote();
    return true;
  }

  private async write(offset: number, data: Uint8Array): Promise<void> {
    const size = this.header.clusterSize;
    for (let at = offset; at < offset + data.length;) {
      const first = Math.floor(at / size);
      const plan = await this.mapping.runAll('exclusive', () =>
        this.plan(first, Math.ceil((offset + data.length) / size) - first),
      );
      const end = Math.min(offset + data.length, (first + plan.clusters) * size);
      await this.fill(plan, at, data.subarray(at - offset, end - offset));
      at = end;
    }
  }

  /** What to do with the next clusters of a write, as many as go alike. */
  private async plan(first: number, wanted: number): Promise<Plan> {
    const size = this.header.clusterSize;
    const ours = (c: Cluster) => c.copied && c.offset !== 0 && c.kind !== 'compressed';
    const head = await this.metadata.lookUp(first);
    if (ours(head)) {
      await this.fileHolds(head.offset + size);
      return { host: head.offset, clusters: 1, fresh: head.kind === 'zero', allocated: false };
    }
    let count = 1;
    while (count < wanted && !ours(await this.metadata.lookUp(first + count))) count++;
    const { offset, count: got } = await this.metadata.refcounts.allocate(count);
    this.held += got;
    return { host: offset, clusters: got, fresh: true, allocated: true };
  }

  /**
   * data begins at `at` and ends within the planned clusters; what is around it keeps its content.
   */
  private async fill(plan: Plan, at: number, data: Uint8Array): Promise<void> {
    const size = this.header.clusterSize;
    const first = Math.floor(at / size);
    try {
      const whole = plan.fresh ? await this.wholeClusters(at, data) : data;
      this.file.debugEvent(whole === data ? 'write_aio' : 'cow_write');
      await this.file.pwrite(plan.fresh ? plan.host : plan.host + (at % size), whole);
      this.metadata.wrote();
    } catch (error) {
      if (plan.allocated)
        await this.mapping.runAll('exclusive', () =>
          this.metadata.giveBack(plan.host, plan.clusters),
        );
      throw error;
    }
    if (!plan.fresh) return;
    await this.mapping.runAll('exclusive', async () => {
      await this.metadata.mapRun(first, plan.clusters, plan.host);
    });
  }

  private async wholeClusters(at: number, data: Uint8Array): Promise<Uint8Array> {
    const size = this.header.clusterSize;
    const before = at % size;
    const end = at + data.length;
    const after = Math.ceil(end / size) * size - end;
    if (before === 0 && after === 0) return data;
    this.file.debugEvent('cow_read');
    const kept = Math.min(after, this.length - end);
    const parts = [
      before > 0 ? await this.read(at - before, before) : Buffer.alloc(0),
      data,
      kept > 0 ? await this.read(end, kept) : Buffer.alloc(0),
    ];
    return Buffer.concat(parts, before + data.length + after);
  }

  private async zeroPart(offset: number, length: number): Promise<void> {
    await this.exclude(offset, length, 'exclusive', async () => {
      const [{ kind }] = await this.runs(offset, length, 1);
      if (kind === 'zero' || (kind === 'unallocated' && isZero(await this.read(offset, length))))
        return;
      await this.write(offset, Buffer.alloc(length));
    });
  }

  private async zeroClusters(offset: number, length: number): Promise<void> {
    const size = this.header.clusterSize;
    await this.exclude(offset, length, 'exclusive', async () => {
      if (this.header.version === 2 && this.options.backing) {
        for (let at = 0; at < length; at += ZERO_STEP)
          await this.write(offset + at, Buffer.alloc(Math.min(ZERO_STEP, length - at)));
        return;
      }
      const kind = this.options.backing ? 'zero' : 'unallocated';
      await this.mapping.runAll('exclusive', async () => {
        for (let cluster = offset / size; cluster * size < offset + length; cluster++) {
          const old = await this.metadata.lookUp(cluster);
          const already =
            old.offset === 0 &&
            (old.kind === kind || (kind === 'unallocated' && old.kind === 'zero'));
          if (!already) await this.metadata.map(cluster, kind, 0);
        }
      });
    });
  }

  private async fileHolds(end: number): Promise<void> {
    if (this.file.length < end) await this.file.resize(end);
  }

  /** Any number of bytes at any place: the file takes whole sectors. */
  private async writeBytes(host: number, bytes: Buffer): Promise<void> {
    const start = host - (host % SECTOR);
    const end = Math.ceil((host + bytes.length) / SECTOR) * SECTOR;
    const sectors = Buffer.alloc(end - start);
    if (host > start) (await this.file.pread(start, SECTOR)).copy(sectors);
    bytes.copy(sectors, host - start);
    await this.file.pwrite(start, sectors);
  }
}
