/** What may go wrong, as plain data: a seed makes some, a test writes one down. `side` is where. */
import type { ColoStep } from '../../src/colo/steps.js';
import type { NetError } from '../support/sim/network.js';

export type Name = 'P' | 'S';

export type StorageTrouble = 'slow' | 'EIO' | 'ENOSPC';
/** both: the host itself was stopped, and its kernel knows nothing of it. */
export type ClockTrouble = 'freeze-monotonic' | 'freeze-wall' | 'freeze-both' | 'jump-wall';

/** What a user may ask for at any time. */
export const verbs = [
  'stop',
  'reset',
  'powerdown',
  'announce',
  'checkpoint',
  'plug-filter',
  'mirror',
  'take-out-replica',
  'stop-nbd',
  'quit',
] as const;
/** What changes who has the guest: only where an arbiter decides, or all else goes well. */
export const roleVerbs = ['switchover', 'leave'] as const;
export type Verb = (typeof verbs)[number] | (typeof roleVerbs)[number];

export type Misfortune =
  | { kind: 'nothing' }
  | { kind: 'crash'; side: Name; at: number; clean: boolean }
  | { kind: 'crash-at-step'; side: Name; step: ColoStep; nth: number; clean: boolean }
  /** The process ends, and the same command is given again. */
  | { kind: 'restart'; side: Name; at: number; clean: boolean; afterMs: number }
  | { kind: 'pause'; side: Name; at: number; ms: number }
  | { kind: 'pause-at-step'; side: Name; step: ColoStep; nth: number; ms: number }
  /** The primary stops for a while, and the operator does not wait for anybody's time-out. */
  | { kind: 'pause-failover'; side: 'P'; step: ColoStep; nth: number; ms: number; lag: number }
  | { kind: 'silence'; at: number; ms: number }
  /** Latency; of hundreds of milliseconds, if need be. */
  | { kind: 'slow-link'; at: number; ms: number; latencyMs: readonly [number, number] }
  | { kind: 'cut'; from: Name; bytes: number; port?: number }
  | { kind: 'cut-now'; at: number; port: number }
  | { kind: 'corrupt'; from: Name; byte: number }
  /** One end only; what lies between says it for the other, which is silent for ms. */
  | { kind: 'one-sided'; side: Name; at: number; ms: number; code: NetError; port: number }
  /** The host's disk is slow, or requests on paths that match fail; then it is as before. */
  | { kind: 'storage'; side: Name; at: number; ms: number; how: StorageTrouble; path: string }
  /** A clock stands still, or jumps by ms. */
  | { kind: 'clock'; side: Name; at: number; ms: number; how: ClockTrouble }
  /** The host's network interface takes nothing. */
  | { kind: 'tap-full'; side: Name; at: number; ms: number }
  | { kind: 'verb'; side: Name; at: number; verb: Verb }
  | { kind: 'failover'; side: Name; at: number }
  | { kind: 'failover-at-step'; side: Name; step: ColoStep; nth: number }
  | { kind: 'failover-both'; at: number; lag: number }
  | { kind: 'shutdown'; at: number }
  /** From one host the arbiter cannot be reached. */
  | { kind: 'arbiter-away'; side: Name; at: number; ms: number }
  /** It answers with a record that it held before, as a member would that was cut off. */
  | { kind: 'arbiter-stale'; side: Name; at: number; ms: number };

/** Nobody is there: an arbiter decides. How its answers come, all the time. */
export interface ArbiterTrouble {
  /** Of all: the change was made, and nothing is heard of it. */
  readonly loseAnswers: number;
  /** Each way; of two of these a question may take longer than it is waited for. */
  readonly delayMs: readonly [min: number, max: number];
  /** Between the wall clocks of the two sides. */
  readonly clocksApartMs: number;
}

export interface Scenario {
  seed: number;
  misfortunes: readonly Misfortune[];
  disks?: number;
  nics?: number;
  overlays?: 'memory' | 'qcow2';
  /** When the guest's environment is unkind all the time. */
  noise?: boolean;
  /** A filter-mirror on the first nic. */
  copies?: boolean;
  /** Device state that does not fit into the connection's window. */
  bulky?: boolean;
  /** Images that differ at the start. */
  different?: boolean;
  /** Another one than that of simOptions. */
  checkpointDelayMs?: number;
  checkpointGapMs?: number;
  arbiter?: ArbiterTrouble;
  /** Virtual time of the run. */
  endMs?: number;
}
