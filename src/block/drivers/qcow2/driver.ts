/**
 * Format `qcow2`: clusters found through two levels of tables, over an optional backing node.
 * Requests of clusters that the image owns go straight to the file, many at once; what changes the
 * mapping has its clusters alone. metadata.ts says in which order things become durable.
 */
import { assert, VmError } from '../../../base/errors.js';
import { RangeLock } from '../../../base/range-lock.js';
import { type BlockStatus, type Extent, type HeldRun } from '../../contract/driver.js';
import { ioError } from '../../contract/io-error.js';
import { type Adopting, type BlockNode, protocolOf } from '../../contract/node.js';
import { type FormatImage, inRole } from '../../contract/roles.js';
import type { ImageBitmap } from '../../record/image-bitmap.js';
import { liveBitmaps } from './bitmaps.js';
import { compress } from './compressed.js';
import type { Cluster } from './entries.js';
import { type Fill, fillClusters } from './fill.js';
import { Incompatible, type Qcow2Header, withBacking } from './header.js';
import { Image } from './image.js';
import { ClusterReader } from './reader.js';
import type { Snapshot } from './snapshots.js';
import { ClusterWriter } from './writer.js';

export interface Qcow2Options {
  readOnly: boolean;
  backing?: BlockNode;
  /**
   * Told once, when the tables were found to contradict themselves; the image takes no writes from
   * then on.
   */
  onCorrupt?: (text: string) => void;
  /** Another process has the file: nothing but the header is read before activate(). */
  inactive?: boolean;
}

export class Qcow2Driver implements FormatImage, Adopting {
  readonly format = 'qcow2';
  readonly role = 'image';
  readonly maxTransfer = 8 * 1024 * 1024;
  /** By bytes of the disk, whole clusters. */
  private readonly clusters = new RangeLock();
  private readonly reader: ClusterReader;
  private readonly writer: ClusterWriter;
  private touched = false;
  private contentKept = false;
  /** Why nothing may be written any more. */
  private corruption?: string;
  private marking: Promise<void> = Promise.resolve();
  /** Beside the file. */
  private readonly intents: ImageBitmap | undefined;

  private constructor(
    private readonly image: Image,
    private readonly options: Qcow2Options,
  ) {
    this.reader = new ClusterReader(image);
    this.writer = new ClusterWriter(image, this.reader);
    image.onCorrupt = text => this.foundCorrupt(text);
    this.intents = inRole('file', protocolOf(image.file))?.bitmap;
    this.intents?.usedAs('qcow2');
  }

  /** header: as read before, to find the backing node. */
  static async open(
    file: BlockNode,
    header: Qcow2Header,
    options: Qcow2Options,
  ): Promise<Qcow2Driver> {
    const driver = new Qcow2Driver(new Image(file, header, options.backing), { ...options });
    if (!options.inactive || driver.readOnly) await driver.image.load(driver.readOnly);
    return driver;
  }

  get header(): Qcow2Header {
    return this.image.header;
  }

  get snapshots(): readonly Snapshot[] {
    return this.image.snapshots;
  }

  get length(): number {
    return this.image.length;
  }

  get readOnly(): boolean {
    return this.options.readOnly || this.image.file.readOnly;
  }

  get active(): boolean {
    return this.image.isLoaded;
  }

  /** Everything is in the file, durable, and nothing of it is kept in memory. */
  async inactivate(): Promise<void> {
    if (this.readOnly) return;
    if (this.corruption !== undefined) throw this.corrupt(this.corruption);
    await this.close();
    this.image.unload();
  }

  async activate(): Promise<void> {
    if (this.active) return;
    await this.image.reload();
    this.touched = false;
  }

  async reopen(readOnly: boolean): Promise<void> {
    if (readOnly) await this.close();
    else await this.image.load(readOnly);
    this.options.readOnly = readOnly;
  }

  replaceChild(edge: string, child: BlockNode | undefined): void {
    assert(edge === 'backing', 'the file of a qcow2 image stays');
    this.image.backing = child;
  }

  intend(offset: number, length: number): Promise<void> | undefined {
    return this.intents?.intend('disk', offset, length);
  }

  /** In the header: which image is read where this one holds nothing. */
  async setBackingFile(name: string | undefined, format: string | undefined): Promise<void> {
    await this.intents?.drop('its backing file was changed');
    await this.image.mapping.runAll('exclusive', async () => {
      await this.image.metadata.commit();
      const first = await this.image.file.pread(
        0,
        Math.min(this.header.clusterSize, this.image.file.length),
      );
      await this.image.file.pwrite(0, withBacking(first, this.header, name, format));
      await this.image.file.flush();
    });
    this.header.backingFile = name;
    this.header.backingFormat = format;
  }

  /** Persistent bitmaps that still follow the disk. */
  get liveBitmaps(): string[] {
    return liveBitmaps(this.image.metadata.bitmaps);
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
    return this.image.held * this.header.clusterSize;
  }

  pread(offset: number, length: number, into?: Buffer): Promise<Buffer> {
    return this.exclude(offset, length, 'shared', () => this.reader.read(offset, length, into));
  }

  async pwrite(offset: number, data: Uint8Array, fua: boolean): Promise<void> {
    await this.beforeChange();
    const inPlace = await this.exclude(offset, data.length, 'shared', () =>
      this.writer.overwrite(offset, data),
    );
    if (!inPlace)
      await this.exclude(offset, data.length, 'exclusive', () => this.writer.write(offset, data));
    if (fua) await this.flush();
  }

  flush(): Promise<void> {
    this.image.file.debugEvent('flush_to_os');
    return this.image.mapping.runAll('exclusive', () => this.image.metadata.commit());
  }

  /** The file has the mapping; it survives the process, not the host. */
  settle(): Promise<void> {
    return this.image.mapping.runAll('exclusive', () => this.image.metadata.commit(false));
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
    const alone = (at: number, to: number, zero: (at: number, bytes: number) => Promise<void>) =>
      to > at ? this.exclude(at, to - at, 'exclusive', () => zero(at, to - at)) : undefined;
    await alone(offset, first, (at, bytes) => this.writer.zeroPart(at, bytes));
    await alone(first, last, (at, bytes) => this.writer.zeroClusters(at, bytes));
    await alone(last, end, (at, bytes) => this.writer.zeroPart(at, bytes));
  }

  /** A cluster at once, if that saves space. For a new image; offset: of a cluster. */
  async writeCompressed(offset: number, data: Uint8Array): Promise<void> {
    const { clusterSize } = this.header;
    const whole = data.length === clusterSize ? data : Buffer.concat([data], clusterSize);
    const packed = await compress(whole, this.header.compression);
    if (!packed) return this.pwrite(offset, data, false);
    await this.beforeChange();
    await this.exclude(offset, data.length, 'exclusive', () =>
      this.writer.writePacked(offset, packed),
    );
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
      if ((await this.reader.runs(offset, length)).some(run => run.kind !== 'unallocated'))
        return undefined;
      const filling = await fillClusters(
        { metadata: this.image.metadata, mapping: this.image.mapping },
        { offset, length, unit },
        fill,
      );
      this.image.held += filling?.held ?? 0;
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
    const { list } = this.image.metadata.bitmaps;
    if (list.length > 0)
      throw new VmError(
        'an image with persistent bitmaps cannot change its length: ' +
          `'${list.map(({ name }) => name).join("', '")}'`,
        { hint: 'qemu-img bitmap --remove takes one away.' },
      );
    await this.beforeChange();
    await this.intents?.resized('disk');
    if (length < this.length) {
      if (this.snapshots.length > 0)
        throw new VmError('qcow2: an image with snapshots cannot be made shorter');
      await this.writeZeroes(length, this.length - length);
    }
    const old = this.length;
    await this.clusters.runAll('exclusive', () =>
      this.image.mapping.runAll('exclusive', () => this.image.metadata.resize(length)),
    );
    // What the backing node has beyond the old end must not come to light.
    if (this.image.backing && this.image.backing.length > old && length > old)
      await this.writeZeroes(old, Math.min(length, this.image.backing.length) - old);
  }

  async blockStatus(offset: number, length: number): Promise<BlockStatus> {
    const [run] = await this.exclude(offset, length, 'shared', () =>
      this.reader.runs(offset, length, 1),
    );
    if (run.kind === 'zero') return { length: run.length, allocated: true, zero: true };
    if (run.kind === 'data')
      return {
        length: run.length,
        allocated: true,
        zero: false,
        place: { node: this.image.file, offset: run.host },
      };
    if (run.kind === 'compressed') return { length: run.length, allocated: true, zero: false };
    if (!this.image.backing || offset >= this.image.backing.length)
      return { length: run.length, allocated: false, zero: true };
    const below = await this.image.backing.blockStatus(
      offset,
      Math.min(run.length, this.image.backing.length - offset),
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
      () => this.reader.runs(offset, length, 1),
    );
    return {
      kind,
      length: alike,
      ...((kind === 'data' || kind === 'zero') && cluster.offset !== 0 && { host }),
    };
  }

  /** Held here, not by the backing node. */
  async heldFrom(offset: number, length: number): Promise<HeldRun> {
    const [first] = await this.exclude(offset, length, 'shared', () =>
      this.reader.runs(offset, length, 1),
    );
    return { held: first.kind !== 'unallocated', length: first.length };
  }

  /** What is held, by rising offset, in pieces of at most maxBytes; zero runs carry no data. */
  async *extents(maxBytes: number): AsyncGenerator<Extent> {
    const perL1 = this.image.metadata.perTable * this.header.clusterSize;
    for (
      let index = 0;
      index < this.image.metadata.l1Entries && index * perL1 < this.length;
      index++
    ) {
      if (this.image.metadata.tableOffset(index) === 0) continue;
      const runs = await this.reader.runs(
        index * perL1,
        Math.min(perL1, this.length - index * perL1),
      );
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
      this.image.mapping.runAll('exclusive', () => this.image.metadata.empty()),
    );
    this.image.held = 0;
  }

  async close(): Promise<void> {
    if (this.readOnly || !this.active) return;
    await this.marking;
    await this.image.mapping.runAll('exclusive', async () => {
      for (let rounds = 0; rounds < 3 && !this.image.metadata.clean; rounds++)
        await this.image.metadata.commit();
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
    this.marking = this.image.metadata.writeIncompatible().catch(() => undefined);
    this.options.onCorrupt?.(text);
  }

  private corrupt(why: string): VmError {
    const node = this.image.file.name;
    return ioError(
      'EIO',
      `qcow2: the image of node '${node}' is corrupt, so it takes no more writes: ${why}`,
    );
  }

  private async beforeChange(): Promise<void> {
    if (this.corruption !== undefined) throw this.corrupt(this.corruption);
    if (this.touched) return;
    await this.image.mapping.runAll('exclusive', () =>
      this.image.metadata.beforeFirstChange(this.contentKept),
    );
    this.touched = true;
  }
}
