/**
 * What a bench of the block layer gives: pairs of numbers, ours and theirs, taken in turns in one
 * run.
 */
export interface Row {
  readonly name: string;
  readonly unit: string;
  /** Median of the rounds. */
  readonly ours: number;
  /** Undefined: nothing to compare with. */
  readonly theirs?: number;
  /** Ours by theirs where more is better, theirs by ours where less is. */
  readonly ratio?: number;
  /** What the ratio, or else the number, must reach. */
  readonly target?: string;
}

/** Takes turns, so that a busy moment of the machine meets both. */
export async function inTurns(
  rounds: number,
  ours: () => Promise<number>,
  theirs: () => Promise<number>,
): Promise<{ ours: number; theirs: number }> {
  const taken = { ours: [] as number[], theirs: [] as number[] };
  for (let n = 0; n < rounds; n++) {
    taken.ours.push(await ours());
    taken.theirs.push(await theirs());
  }
  return { ours: median(taken.ours), theirs: median(taken.theirs) };
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
}
