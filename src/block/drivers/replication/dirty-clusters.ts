/** Which 64 KiB clusters of a disk were written: one bit each. */
import { CLUSTER } from '../../contract/driver.js';

export class DirtyClusters {
  /**
   * Made with the first mark: the length of a peer's export is not to be trusted before it has been
   * compared.
   */
  private made?: Uint8Array;
  private marked = 0;

  constructor(private readonly length: number) {}

  /** Clusters marked. */
  get count(): number {
    return this.marked;
  }

  mark(offset: number, length: number): void {
    const { bits } = this;
    for (let c = Math.floor(offset / CLUSTER); c * CLUSTER < offset + length; c++) {
      const bit = 1 << (c & 7);
      if (bits[c >> 3] & bit) continue;
      bits[c >> 3] |= bit;
      this.marked++;
    }
  }

  /** Any cluster of the range is marked. */
  touches(offset: number, length: number): boolean {
    for (let c = Math.floor(offset / CLUSTER); c * CLUSTER < offset + length; c++) {
      if (this.has(c)) return true;
    }
    return false;
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
    return {
      offset: first * CLUSTER,
      length: Math.min(end * CLUSTER, this.length) - first * CLUSTER,
    };
  }

  private get bits(): Uint8Array {
    return (this.made ??= new Uint8Array(Math.ceil(this.length / CLUSTER / 8)));
  }

  private has(cluster: number): boolean {
    return (this.bits[cluster >> 3] & (1 << (cluster & 7))) !== 0;
  }
}
