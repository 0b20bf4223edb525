/**
 * What the secondary has of an epoch that is not whole yet. It lies beside the machine, bounded by
 * the machine's own RAM and the limit for device state, and touches nothing until apply().
 */
import type { PageCodec, Ram } from '../accel/contract.js';
import { VmError, asVmError } from '../base/errors.js';
import { mutant } from '../base/mutant.js';
import type { SecondaryDisk } from '../block/contract/replicated.js';
import {
  type PageChunk,
  applyChunk,
  decodeChunk,
  PAGE_BYTES,
  pagesOf,
} from '../migration/pages.js';
import { decodePacked } from '../migration/packed-pages.js';
import type { Turns } from '../migration/turns.js';
import type { EpochInfo } from './messages.js';
import { trace } from './trace.js';

export class StagedEpoch {
  private readonly chunks: PageChunk[] = [];
  private codec: PageCodec | undefined;
  private lastPage = -1;
  pages = 0;

  constructor(private readonly ram: Ram) {}

  /** Untrusted. Pages ascend, so no epoch is larger than RAM. */
  add(body: Buffer): void {
    this.take(decodeChunk(body, this.ram.pageCount, this.lastPage));
  }

  /** RAM holds the last epoch, all of it and nothing else: changes count from that. */
  addPacked(body: Buffer): void {
    this.codec ??= this.ram.pageCodec();
    this.take(decodePacked(body, this.codec, this.ram.pageCount, this.lastPage));
  }

  private take(chunk: PageChunk): void {
    this.lastPage = chunk.last;
    this.pages += pagesOf(chunk);
    this.chunks.push(chunk);
    if (mutant('loaded-before-whole')) applyChunk(this.ram, chunk);
  }

  /**
   * Is all of it here? previous: the last epoch that was loaded. From here until they are emptied
   * the disks take no writes.
   */
  async check(info: EpochInfo, previous: number, disks: readonly SecondaryDisk[]): Promise<void> {
    if (info.epoch <= previous) throw new VmError(`epoch ${info.epoch} after epoch ${previous}`);
    if (info.pages !== this.pages)
      throw new VmError(`epoch ${info.epoch} has ${info.pages} pages, ${this.pages} arrived`);
    if (info.writes.length !== disks.length)
      throw new VmError(
        `epoch ${info.epoch} covers ${info.writes.length} disks, ${disks.length} are ` +
          'replicated here',
      );
    const counts = new Map(info.writes.map(w => [w.disk, w.count]));
    for (const disk of disks) {
      const error = disk.error();
      if (error) throw new VmError(`disk '${disk.name}': ${error.message}`, { cause: error });
      const sent = counts.get(disk.name);
      if (sent === undefined)
        throw new VmError(`epoch ${info.epoch} does not cover disk '${disk.name}'`);
      await disk
        .seal(sent)
        .catch(thrown =>
          Promise.reject(asVmError(thrown).during(`disk '${disk.name}', epoch ${info.epoch}`)),
        );
    }
  }

  /**
   * Cannot fail: every chunk has passed its checks. In slices, between which the primary's pings
   * are answered.
   */
  async apply(turns: Turns, half: () => void): Promise<void> {
    trace.flush_ram_cache_begin?.({ dirty_pages: this.pages });
    for (const [at, chunk] of this.chunks.entries()) {
      applyChunk(this.ram, chunk);
      if (at === this.chunks.length >> 1) half();
      await turns.spend(pagesOf(chunk) * PAGE_BYTES);
    }
    this.chunks.length = 0;
    trace.flush_ram_cache_end?.({});
  }
}
