/**
 * Precopy: all of RAM once, then what the guest dirtied meanwhile, until little is left. The guest runs; only to take the dirty set it
 * stands still for a moment. A page that changes while it is copied is dirty again, so a torn copy never survives to the first checkpoint.
 */
import type { Ram } from '../accel/contract.js';
import { PageStaging } from './pages.js';

export interface PrecopyOptions {
  chunkPages: number;
  /** Stop when a round leaves at most this many pages. */
  enoughPages: number;
  /** Stop after so many rounds however many are left. */
  rounds: number;
}

export interface PrecopyTarget {
  /** Pages [from, to) of the staging area; resolves when they have left our queue. */
  sendChunk(staging: PageStaging, from: number, to: number): Promise<void>;
  /** End of a round: page numbers start again. */
  endRound(): Promise<void>;
  progress(round: number, dirtyPages: number): void;
}

/** Runs fn while the guest stands still, and lets it go on. */
export type WhileStopped = <T>(fn: () => T) => Promise<T>;

/** On return the dirty log is on and holds what changed since the last round. */
export async function precopy(ram: Ram, whileStopped: WhileStopped, target: PrecopyTarget, options: PrecopyOptions): Promise<void> {
  await whileStopped(() => {
    ram.dirtyLog.start();
    ram.dirtyLog.take();
  });
  target.progress(1, ram.pageCount);
  await sendRound(ram, undefined, target, options.chunkPages);
  for (let round = 2; round <= options.rounds && ram.dirtyLog.count() > options.enoughPages; round++) {
    const dirty = await whileStopped(() => ram.dirtyLog.take());
    target.progress(round, dirty.length);
    await sendRound(ram, dirty, target, options.chunkPages);
  }
}

/** Pages are gathered chunk by chunk, as they are now: no copy of all RAM stands beside it. undefined: every page. */
async function sendRound(ram: Ram, pages: Uint32Array | undefined, target: PrecopyTarget, chunkPages: number): Promise<void> {
  const staging = new PageStaging();
  const total = pages?.length ?? ram.pageCount;
  for (let from = 0; from < total; from += chunkPages) {
    const count = Math.min(chunkPages, total - from);
    staging.fill(ram, pages?.subarray(from, from + count) ?? Uint32Array.from({ length: count }, (_, i) => from + i));
    await target.sendChunk(staging, 0, count);
  }
  await target.endRound();
}
