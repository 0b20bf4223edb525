/**
 * Precopy: all of RAM once, then what the guest dirtied meanwhile, until little is left. The guest
 * runs; only to take the dirty set it stands still for a moment. A page that changes while it is
 * copied is dirty again, so a torn copy never survives to the end.
 */
import type { PageRun, Ram } from '../accel/contract.js';
import type { Migratable } from './contract.js';
import { PageStaging, PAGE_BYTES } from './pages.js';
import type { Turns } from './turns.js';

export interface PrecopyOptions {
  /** Pages in a chunk; asked before each. */
  chunkPages(): number;
  /** So few pages that are dirty need no further round. */
  enough(dirtyPages: number): boolean;
  /** The last round, however many pages are left. */
  rounds: number;
  /** Between chunks that leave at once the main loop has its turn. */
  turns: Turns;
}

export interface PrecopyTarget {
  /** Pages [from, to) of the staging area; resolves when they have left our queue. */
  sendChunk(staging: PageStaging, from: number, to: number): Promise<void>;
  /** End of a round: page numbers start again. */
  endRound(): Promise<void>;
  progress(round: number, dirtyPages: number): void;
}

/**
 * On return the dirty log is on and holds what changed since the last round; gives the number of
 * rounds.
 */
export async function precopy(
  vm: Pick<Migratable, 'ram' | 'whileStopped'>,
  target: PrecopyTarget,
  options: PrecopyOptions,
): Promise<number> {
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

/** A hole so short is sent as data: to read it costs less than a chunk of its own. */
const SHORT_HOLE = 32;
/** The cost of looking at a page of a hole, in bytes that could be read in the same time. */
const HOLE_COST = 64;

type ChunkOptions = Pick<PrecopyOptions, 'chunkPages' | 'turns'>;

/**
 * Pages are gathered chunk by chunk, as they are now: no copy of all RAM stands beside it.
 * undefined: every page.
 */
export async function sendRound(
  ram: Ram,
  pages: Uint32Array | undefined,
  target: PrecopyTarget,
  options: ChunkOptions,
): Promise<void> {
  const staging = new PageStaging();
  if (!pages) await sendAll(ram, staging, target, options);
  else
    for (let from = 0; from < pages.length;) {
      const chunk = pages.subarray(from, from + options.chunkPages());
      staging.fill(ram, chunk);
      await target.sendChunk(staging, 0, chunk.length);
      await options.turns.spend(chunk.length * PAGE_BYTES);
      from += chunk.length;
    }
  await target.endRound();
}

/** A page that the guest writes in between is dirty, and so belongs to the next round. */
async function sendAll(
  ram: Ram,
  staging: PageStaging,
  target: PrecopyTarget,
  options: ChunkOptions,
): Promise<void> {
  let from = 0;
  const upTo = async (end: number, cost: number, fill: (pages: Uint32Array) => void) => {
    for (let count; from < end; from += count) {
      const first = from;
      count = Math.min(options.chunkPages(), end - first);
      fill(Uint32Array.from({ length: count }, (_, i) => first + i));
      await target.sendChunk(staging, 0, count);
      await options.turns.spend(count * cost);
    }
  };
  for (const run of joined(ram.populated())) {
    await upTo(run.from, HOLE_COST, pages => staging.fillHoles(pages));
    await upTo(run.to, PAGE_BYTES, pages => staging.fill(ram, pages));
  }
  await upTo(ram.pageCount, HOLE_COST, pages => staging.fillHoles(pages));
}

function joined(runs: readonly PageRun[]): PageRun[] {
  const out: PageRun[] = [];
  for (const run of runs) {
    const last = out.at(-1);
    if (last && run.from - last.to < SHORT_HOLE) last.to = run.to;
    else out.push({ ...run });
  }
  return out;
}
