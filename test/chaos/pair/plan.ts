/** A seed becomes the faults of a run: what, where, and in which phase of the pair's life. */
import { Random } from '../../support/random.js';
import { type HostName, hostNames, type LinkCut, links } from './hosts.js';

/** owner: the host whose guest answers when the fault comes; other: the one that follows it. */
export type Place = 'owner' | 'other';

export type PairFault =
  /** kill -9. host: both processes. What supervises is started again after a while. */
  | { kind: 'kill'; what: 'vm' | 'supervisor' | 'host'; place: Place; backMs: number }
  /** SIGSTOP, then SIGCONT. */
  | { kind: 'stop'; what: 'vm' | 'supervisor' | 'host'; place: Place; ms: number }
  | { kind: 'cut'; cut: LinkCut; place: Place; ms: number }
  /** All links of a host at once: a switch that fails. */
  | { kind: 'alone'; place: Place; ms: number }
  | { kind: 'narrow'; link: 'migration' | 'nbd'; place: Place; ms: number }
  | { kind: 'slow-disk'; place: Place; ms: number }
  | { kind: 'full-disk'; place: Place; ms: number }
  /** One of three members. */
  | { kind: 'etcd'; how: 'kill' | 'stop'; member: number; ms: number };

/**
 * protected: so long after the run began. then: after the fault before it, where the pair is in the
 * middle of a takeover as a rule. rejoining: a side is on its way to be in step again.
 */
export type Phase = 'protected' | 'then' | 'rejoining';

export interface PlannedFault {
  readonly phase: Phase;
  readonly afterMs: number;
  readonly fault: PairFault;
}

/** Silence of a peer is borne for so long (peerTimeoutMs), and some time more. */
const LOSING_MS = 1500;

/** One to three; the first is of the kind that a side is lost by, as a rule. */
export function planOf(seed: number): PlannedFault[] {
  const random = new Random(Math.imul(seed, 2654435761));
  const count = random.pick([1, 1, 2, 2, 3]);
  return Array.from({ length: count }, (_, n): PlannedFault => {
    if (n === 0) {
      const grave = random.pick([kill, kill, kill, stop, cutLong, cutLong, lesser, lesser]);
      return { phase: 'protected', afterMs: random.below(500), fault: grave(random) };
    }
    const phase = random.pick(['then', 'then', 'rejoining'] as const);
    const afterMs = random.below(phase === 'then' ? 1500 : 600);
    return { phase, afterMs, fault: random.pick([kill, stop, lesser, lesser, lesser])(random) };
  });
}

/** What a pair is for: a host dies, and is there again. Every third is the replica's. */
export function lossOf(seed: number): PlannedFault[] {
  const place = seed % 3 === 0 ? 'other' : 'owner';
  const fault = { kind: 'kill', what: 'host', place, backMs: 500 } as const;
  return [{ phase: 'protected', afterMs: 500, fault }];
}

const place = (random: Random): Place => random.pick(['owner', 'other']);
const process = (random: Random) => random.pick(['vm', 'vm', 'host', 'supervisor'] as const);

function kill(random: Random): PairFault {
  return { kind: 'kill', what: process(random), place: place(random), backMs: random.below(1500) };
}

/** Less than it takes to be given up, or more. */
function stop(random: Random): PairFault {
  const ms = random.pick([200, LOSING_MS, 2 * LOSING_MS]) + random.below(500);
  return { kind: 'stop', what: process(random), place: place(random), ms };
}

function cutLong(random: Random): PairFault {
  const ms = LOSING_MS + random.below(2000);
  if (random.chance(0.3)) return { kind: 'alone', place: place(random), ms };
  return { kind: 'cut', cut: aCut(random), place: place(random), ms };
}

const aCut = (random: Random): LinkCut => ({
  link: random.pick(links),
  way: random.pick(['out', 'in', 'both']),
});

/** What is over before a side is given up for it, as a rule. */
function lesser(random: Random): PairFault {
  const ms = random.pick([200, 500, LOSING_MS]) + random.below(400);
  const at = place(random);
  const kind = random.pick(['cut', 'cut', 'alone', 'narrow', 'slow', 'full', 'full', 'etcd']);
  if (kind === 'cut') return { kind, cut: aCut(random), place: at, ms };
  if (kind === 'alone') return { kind, place: at, ms };
  if (kind === 'narrow') return { kind, link: random.pick(['migration', 'nbd']), place: at, ms };
  if (kind === 'slow') return { kind: 'slow-disk', place: at, ms };
  if (kind === 'full') return { kind: 'full-disk', place: at, ms };
  return { kind: 'etcd', how: random.pick(['kill', 'stop']), member: random.below(3), ms };
}

/** For people. */
export function described({ phase, afterMs, fault }: PlannedFault): string {
  const when = `${phase === 'protected' ? '' : `${phase} `}+${afterMs} ms`;
  return `${when}: ${faultText(fault)}`;
}

function faultText(fault: PairFault): string {
  switch (fault.kind) {
    case 'kill':
      return `kill ${fault.what} of ${fault.place}, back after ${fault.backMs} ms`;
    case 'stop':
      return `stop ${fault.what} of ${fault.place} for ${fault.ms} ms`;
    case 'cut':
      return `cut ${fault.cut.link} (${fault.cut.way}) of ${fault.place} for ${fault.ms} ms`;
    case 'narrow':
      return `narrow ${fault.link} of ${fault.place} for ${fault.ms} ms`;
    case 'etcd':
      return `${fault.how} etcd member ${fault.member} for ${fault.ms} ms`;
    default:
      return `${fault.kind} of ${fault.place} for ${fault.ms} ms`;
  }
}

export const placeOf = (place: Place, owner: HostName): HostName =>
  place === 'owner' ? owner : hostNames.find(name => name !== owner)!;
