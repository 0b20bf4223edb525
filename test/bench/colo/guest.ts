/** The guest of bench:colo (guest.c), built by the compiler here, and what it says it has seen. */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { tool } from '../../guest/tool.js';

const flags =
  '-m32 -march=i686 -ffreestanding -fno-pic -fno-stack-protector -fno-asynchronous-unwind-tables ' +
  '-nostdlib -static -O2 -Wall -Wl,-N,-Ttext-segment=0x100000,-e,entry,--build-id=none';

/** The path of the kernel, made in dir. */
export function buildGuest(dir: string): string {
  const kernel = join(dir, 'guest');
  const source = fileURLToPath(new URL('guest.c', import.meta.url));
  tool('gcc', [...flags.split(' '), '-Wl,--no-warn-rwx-segments', '-o', kernel, source], 'gcc');
  return kernel;
}

/** As guest.c lays it out; the monitor reads it. */
export const seenCommand = 'xp/6xg 0x800000';

export interface Seen {
  /** Turns of its loop. */
  units: number;
  /** Its clock. */
  ms: number;
  /** Of changing the pages. */
  rounds: number;
  /** Time that it did not have, of more than half a millisecond each. */
  gapMs: number;
}

export function parseSeen(text: string): Seen {
  const words = [...text.matchAll(/ 0x([0-9a-f]{16})/g)].map(([, hex]) => Number(`0x${hex}`));
  if (words.length !== 6) throw new Error(`the guest's memory reads: ${text}`);
  const [units, ticks, rounds, gapTicks, , ticksPerMs] = words;
  return { units, ms: ticks / ticksPerMs, rounds, gapMs: gapTicks / ticksPerMs };
}
