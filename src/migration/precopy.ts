/**
 * Precopy: all of RAM once, then what the guest dirtied meanwhile, until little is left. The guest runs; only to take the dirty set it
 * stands still for a moment. A page that changes while it is copied is dirty again, so a torn copy never survives to the end.
 */
import type { Ram } from '../accel/contract.js';
import type { Migratable } from './contract.js';
import { PageStaging } from './pages.js';

export interface PrecopyOptions {
  /** Pages in a chunk; asked before each. */
  chunkPages(): number;
  /** So few pages that are dirty need no further round. */
  enough(dirtyPages: number): boolean;
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

/** On return the dirty log is on and holds what changed since the last round; gives the number of rounds. */
export async function precopy(vm: Pick<Migratable, 'ram' | 'whileStopped'>, target: PrecopyTarget, options: PrecopyOptions): Promise<number> {
  const { ram } = vm;
  await vm.whileStopped(() => {
    ram.dirtyLog.start();
    ram.dirtyLog.take();
  });
  target.progress(1, ram.pageCount);
  await sendRound(ram, undefined, target, options);
  let round = 1;
  while (round < options.rounds && !options.enough(ram.dirtyLog.count())) {
    const dirty = await vm.whileStopped(() => ram.dirtyLog.take());
    target.progress(++round, dirty.length);
    await sendRound(ram, dirty, target, options);
  }
  return round;
}

/** Pages are gathered chunk by chunk, as they are now: no copy of all RAM stands beside it. undefined: every page. */
export async function sendRound(ram: Ram, pages: Uint32Array | undefined, target: PrecopyTarget, options: Pick<PrecopyOptions, 'chunkPages'>): Promise<void> {
  const staging = new PageStaging();
  const total = pages?.length ?? ram.pageCount;
  for (let from = 0; from < total; ) {
    const count = Math.min(options.chunkPages(), total - from);
    staging.fill(ram, pages?.subarray(from, from + count) ?? Uint32Array.from({ length: count }, (_, i) => from + i));
    await target.sendChunk(staging, 0, count);
    from += count;
  }
  await target.endRound();
}
