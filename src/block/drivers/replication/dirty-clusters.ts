/** Which clusters of a disk were written, of 64 KiB or less: one bit each. */
import { CLUSTER } from '../../contract/driver.js';
import { pieceBytesOf, type Range } from '../../record/regions.js';

export class DirtyClusters {
  /**
   * Made with the first mark: the length of a peer's export is not to be trusted before it has been
   * compared.
   */
  private made?: Uint8Array;
  private marked = 0;
  /** Smaller where the pieces that are compared are. */
  readonly clusterBytes: number;

  constructor(private readonly length: number) {
    this.clusterBytes = Math.min(CLUSTER, pieceBytesOf(length));
  }

  /** Clusters marked. */
  get count(): number {
    return this.marked;
  }

  mark(offset: number, length: number): void {
    const { bits, clusterBytes } = this;
    for (let c = Math.floor(offset / clusterBytes); c * clusterBytes < offset + length; c++) {
      const bit = 1 << (c & 7);
      if (bits[c >> 3] & bit) continue;
      bits[c >> 3] |= bit;
      this.marked++;
    }
  }

  /** Any cluster of the range is marked. */
  touches(offset: number, length: number): boolean {
    const { clusterBytes } = this;
    for (let c = Math.floor(offset / clusterBytes); c * clusterBytes < offset + length; c++) {
      if (this.has(c)) return true;
    }
    return false;
  }

  /** All that is marked, one cluster at a time. */
  *runs(): Generator<Range> {
    const { clusterBytes: length } = this;
    if (this.marked === 0) return;
    for (let c = 0; c * length < this.length; c++)
      if (this.has(c)) yield { offset: c * length, length };
  }

  /** Takes out the first run of marked clusters, of at most maxClusters. */
  takeRun(maxClusters: number): { offset: number; length: number } | undefined {
    if (this.marked === 0) return undefined;
    let byte = 0;
    while (this.bits[byte] === 0) byte++;
    let first = byte * 8;
    while (!this.has(first)) first++;
    let end = first;
    while (end - first < maxClusters && this.has(end)) {
      this.bits[end >> 3] &= ~(1 << (end & 7));
      this.marked--;
      end++;
    }
    const { clusterBytes } = this;
    return {
      offset: first * clusterBytes,
      length: Math.min(end * clusterBytes, this.length) - first * clusterBytes,
    };
  }

  private get bits(): Uint8Array {
    return (this.made ??= new Uint8Array(Math.ceil(this.length / this.clusterBytes / 8)));
  }

  private has(cluster: number): boolean {
    return (this.bits[cluster >> 3] & (1 << (cluster & 7))) !== 0;
  }
}
