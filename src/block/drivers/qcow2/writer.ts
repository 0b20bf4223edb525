/** Writing to an image: in place where the cluster is its own, else to a new cluster. */
import { isZero, SECTOR } from '../../contract/driver.js';
import type { Cluster } from './entries.js';
import type { Image } from './image.js';
import type { ClusterReader } from './reader.js';

/** Clusters that a write is about to fill. fresh: they are not part of the disk yet. */
interface Plan {
  host: number;
  clusters: number;
  fresh: boolean;
  allocated: boolean;
}

const ZERO_STEP = 1024 * 1024;

/** The caller has the clusters of the range alone; for overwrite() it may share them. */
export class ClusterWriter {
  constructor(
    private readonly image: Image,
    private readonly reader: ClusterReader,
  ) {}

  /** All in clusters that are ours: no change of the mapping. */
  async overwrite(offset: number, data: Uint8Array): Promise<boolean> {
    const runs = await this.reader.runs(offset, data.length);
    for (const run of runs)
      if (
        run.kind !== 'data' ||
        !run.cluster.copied ||
        run.host + run.length > this.image.file.length
      )
        return false;
    this.image.file.debugEvent('write_aio');
    for (const run of runs)
      await this.image.file.pwrite(
        run.host,
        data.subarray(run.at - offset, run.at - offset + run.length),
      );
    this.image.metadata.wrote();
    return true;
  }

  async write(offset: number, data: Uint8Array): Promise<void> {
    const size = this.image.header.clusterSize;
    for (let at = offset; at < offset + data.length;) {
      const first = Math.floor(at / size);
      const plan = await this.image.mapping.runAll('exclusive', () =>
        this.plan(first, Math.ceil((offset + data.length) / size) - first),
      );
      const end = Math.min(offset + data.length, (first + plan.clusters) * size);
      await this.fill(plan, at, data.subarray(at - offset, end - offset));
      at = end;
    }
  }

  /** What to do with the next clusters of a write, as many as go alike. */
  private async plan(first: number, wanted: number): Promise<Plan> {
    const size = this.image.header.clusterSize;
    const ours = (c: Cluster) => c.copied && c.offset !== 0 && c.kind !== 'compressed';
    const head = await this.image.metadata.lookUp(first);
    if (ours(head)) {
      await this.fileHolds(head.offset + size);
      return { host: head.offset, clusters: 1, fresh: head.kind === 'zero', allocated: false };
    }
    let count = 1;
    while (count < wanted && !ours(await this.image.metadata.lookUp(first + count))) count++;
    const { offset, count: got } = await this.image.metadata.refcounts.allocate(count);
    this.image.held += got;
    return { host: offset, clusters: got, fresh: true, allocated: true };
  }

  /**
   * data begins at `at` and ends within the planned clusters; what is around it keeps its content.
   */
  private async fill(plan: Plan, at: number, data: Uint8Array): Promise<void> {
    const size = this.image.header.clusterSize;
    const first = Math.floor(at / size);
    try {
      const whole = plan.fresh ? await this.wholeClusters(at, data) : data;
      this.image.file.debugEvent(whole === data ? 'write_aio' : 'cow_write');
      await this.image.file.pwrite(plan.fresh ? plan.host : plan.host + (at % size), whole);
      this.image.metadata.wrote();
    } catch (error) {
      if (plan.allocated)
        await this.image.mapping.runAll('exclusive', () =>
          this.image.metadata.giveBack(plan.host, plan.clusters),
        );
      throw error;
    }
    if (!plan.fresh) return;
    await this.image.mapping.runAll('exclusive', async () => {
      await this.image.metadata.mapRun(first, plan.clusters, plan.host);
    });
  }

  private async wholeClusters(at: number, data: Uint8Array): Promise<Uint8Array> {
    const size = this.image.header.clusterSize;
    const before = at % size;
    const end = at + data.length;
    const after = Math.ceil(end / size) * size - end;
    if (before === 0 && after === 0) return data;
    this.image.file.debugEvent('cow_read');
    const kept = Math.min(after, this.image.length - end);
    const parts = [
      before > 0 ? await this.reader.read(at - before, before) : Buffer.alloc(0),
      data,
      kept > 0 ? await this.reader.read(end, kept) : Buffer.alloc(0),
    ];
    return Buffer.concat(parts, before + data.length + after);
  }

  /** Part of a cluster. */
  async zeroPart(offset: number, length: number): Promise<void> {
    const [{ kind }] = await this.reader.runs(offset, length, 1);
    if (kind === 'zero') return;
    if (kind === 'unallocated' && isZero(await this.reader.read(offset, length))) return;
    await this.write(offset, Buffer.alloc(length));
  }

  async zeroClusters(offset: number, length: number): Promise<void> {
    const { header, backing, mapping, metadata } = this.image;
    const size = header.clusterSize;
    if (header.version === 2 && backing) {
      for (let at = 0; at < length; at += ZERO_STEP)
        await this.write(offset + at, Buffer.alloc(Math.min(ZERO_STEP, length - at)));
      return;
    }
    const kind = backing ? 'zero' : 'unallocated';
    await mapping.runAll('exclusive', async () => {
      for (let cluster = offset / size; cluster * size < offset + length; cluster++) {
        const old = await metadata.lookUp(cluster);
        const already =
          old.offset === 0 &&
          (old.kind === kind || (kind === 'unallocated' && old.kind === 'zero'));
        if (!already) await metadata.map(cluster, kind, 0);
      }
    });
  }

  /** packed: the content of the cluster at offset. */
  async writePacked(offset: number, packed: Buffer): Promise<void> {
    const { file, header, mapping, metadata } = this.image;
    // Neighbours share sectors of the file, so one at a time.
    await mapping.runAll('exclusive', async () => {
      const host = await metadata.allocateBytes(packed.length);
      file.debugEvent('write_compressed');
      await this.writeBytes(host, packed);
      metadata.wrote();
      await metadata.mapCompressed(offset / header.clusterSize, host, packed.length);
    });
  }

  private async fileHolds(end: number): Promise<void> {
    if (this.image.file.length < end) await this.image.file.resize(end);
  }

  /** Any number of bytes at any place: the file takes whole sectors. */
  private async writeBytes(host: number, bytes: Buffer): Promise<void> {
    const start = host - (host % SECTOR);
    const end = Math.ceil((host + bytes.length) / SECTOR) * SECTOR;
    const sectors = Buffer.alloc(end - start);
    if (host > start) (await this.image.file.pread(start, SECTOR)).copy(sectors);
    bytes.copy(sectors, host - start);
    await this.image.file.pwrite(start, sectors);
  }
}
