/** Which 64 KiB clusters of a disk were written: one bit each. */
import { CLUSTER } from './driver.js';

export class DirtyClusters {
  private readonly bits: Uint8Array;
  private marked = 0;

  constructor(private readonly length: number) {
    this.bits = new Uint8Array(Math.ceil(length / CLUSTER / 8));
  }

  /** Clusters marked. */
  get count(): number {
    return this.marked;
  }

  mark(offset: number, length: number): void {
    for (let c = Math.floor(offset / CLUSTER); c * CLUSTER < offset + length; c++) {
      const bit = 1 << (c & 7);
      if (this.bits[c >> 3] & bit) continue;
      this.bits[c >> 3] |= bit;
      this.marked++;
    }
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
    return { offset: first * CLUSTER, length: Math.min(end * CLUSTER, this.length) - first * CLUSTER };
  }

  private has(cluster: number): boolean {
    return (this.bits[cluster >> 3] & (1 << (cluster & 7))) !== 0;
  }
}
