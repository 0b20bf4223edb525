/** Reading of an image: what the tables say of a range, and the bytes that stand there. */
import { readCompressed } from './compressed.js';
import type { Cluster } from './entries.js';
import type { Image } from './image.js';
import { unallocated } from './metadata.js';

/** Neighbouring bytes of one kind. */
export interface ClusterRun {
  kind: Cluster['kind'];
  at: number;
  length: number;
  /** data: where in the file. */
  host: number;
  cluster: Cluster;
}

/** The caller keeps writers away from the clusters of the range. */
export class ClusterReader {
  constructor(private readonly image: Image) {}

  private lookUp(cluster: number): Cluster | Promise<Cluster> {
    return (
      this.image.metadata.lookUpCached(cluster) ??
      this.image.mapping.runAll('exclusive', () => this.image.metadata.lookUp(cluster))
    );
  }

  /** The range as runs of one kind; at most so many. */
  async runs(offset: number, length: number, most = Infinity): Promise<ClusterRun[]> {
    const size = this.image.header.clusterSize;
    const perL1 = this.image.metadata.perTable * size;
    const out: ClusterRun[] = [];
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

  async read(offset: number, length: number, into?: Buffer): Promise<Buffer> {
    if (length === 0) return Buffer.alloc(0);
    const runs = await this.runs(offset, length);
    if (runs.length === 1) return this.readRun(runs[0], into);
    return Buffer.concat(await Promise.all(runs.map(run => this.readRun(run))), length);
  }

  private async readRun(run: ClusterRun, into?: Buffer): Promise<Buffer> {
    if (run.kind === 'zero') return Buffer.alloc(run.length);
    if (run.kind === 'data') {
      this.image.file.debugEvent('read_aio');
      return this.readFile(run.host, run.length, into);
    }
    if (run.kind === 'compressed') {
      this.image.file.debugEvent('read_compressed');
      const data = await readCompressed(this.image.file, this.image.header, run.cluster);
      const from = run.at % this.image.header.clusterSize;
      return data.subarray(from, from + run.length);
    }
    const below = this.image.backing
      ? Math.max(0, Math.min(run.length, this.image.backing.length - run.at))
      : 0;
    if (below === 0) return Buffer.alloc(run.length);
    this.image.file.debugEvent('read_backing_aio');
    const data = await this.image.backing!.pread(run.at, below, into);
    return below === run.length ? data : Buffer.concat([data], run.length);
  }

  /** The file may end within its last cluster. */
  private async readFile(host: number, length: number, into?: Buffer): Promise<Buffer> {
    const there = Math.max(0, Math.min(length, this.image.file.length - host));
    const data = await this.image.file.pread(host, there, into);
    return there === length ? data : Buffer.concat([data], length);
  }
}
