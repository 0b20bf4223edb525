/** What many runs came to, and how it is shown. */
import type { ColoStep } from '../../src/colo/steps.js';
import type { Outcome } from './pair.js';

/** One run, as a worker tells of it. */
export interface Told extends Pick<Outcome, 'survivor' | 'takeovers' | 'checkpoints' | 'hit'> {
  seed: number;
  steps: readonly ColoStep[];
  /** The first violation. */
  violation?: string;
}

export class Totals {
  runs = 0;
  private takeovers = 0;
  private checkpoints = 0;
  private readonly survivors = new Map<string, number>();
  private readonly hit = new Map<string, number>();
  readonly steps = new Set<ColoStep>();
  readonly violations: { seed: number; violation: string }[] = [];

  add({ seed, violation, survivor, takeovers, checkpoints, hit, steps }: Told): void {
    this.runs++;
    this.takeovers += takeovers;
    this.checkpoints += checkpoints;
    count(this.survivors, survivor);
    for (const kind of hit) count(this.hit, kind);
    for (const step of steps) this.steps.add(step);
    if (violation !== undefined) this.violations.push({ seed, violation });
  }

  /** Lines for people. */
  table(seconds: number, jobs: number): string[] {
    const perSecond = this.runs / seconds;
    const survivors = ['P', 'S', 'none'].map(who => `${who} ${this.survivors.get(who) ?? 0}`);
    const hit = [...this.hit].sort((a, b) => b[1] - a[1]).map(([kind, n]) => `${kind} ${n}`);
    const rows = [
      [
        'runs',
        `${this.runs} in ${seconds.toFixed(0)} s: ${perSecond.toFixed(1)} a second by ${jobs}`,
      ],
      ['survivors', survivors.join(', ')],
      ['takeovers', `${this.takeovers}`],
      ['checkpoints', `${this.checkpoints}`],
      ['misfortunes', hit.join(', ')],
      ['violations', `${this.violations.length}`],
    ];
    const bad = this.violations
      .sort((a, b) => a.seed - b.seed)
      .map(({ seed, violation }) => `  ${seed}: ${violation}`);
    return [...rows.map(([name, value]) => `${name.padEnd(12)} ${value}`), ...bad];
  }
}

function count(map: Map<string, number>, key: string): void {
  map.set(key, (map.get(key) ?? 0) + 1);
}
