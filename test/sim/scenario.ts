/** A seed becomes a scenario: what the machines are, which misfortunes, where, when. */
import { coloSteps } from '../../src/colo/steps.js';
import { Random } from '../support/random.js';
import type { Misfortune, Name, Scenario } from './misfortunes.js';
import { ports } from './vm.js';

export const stepsOf = (side: Name) =>
  coloSteps.filter(step =>
    side === 'P' ? step.startsWith('primary') : !step.startsWith('primary'),
  );

/** Steps that are passed once, or at every heartbeat: chance would seldom hit what lies between. */
const seldom = new RegExp(
  'ping|pong|sent-error|got-error|stop-request|stopped|going-alone|guest-shutdown|takeover|' +
    'aborted|abort-epoch|gate-closed|alone|disks-stopped|hello|accept|digest|precopy|round|ready',
);

export function scenarioOf(seed: number): Scenario {
  const random = new Random(seed * 2654435761);
  return {
    seed,
    misfortunes: misfortunesOf(random),
    noise: random.chance(0.4),
    disks: random.pick([1, 1, 2, 3]),
    nics: random.pick([1, 1, 2]),
    overlays: random.pick(['memory', 'memory', 'qcow2']),
    different: random.chance(0.3),
  };
}

function misfortunesOf(random: Random): Misfortune[] {
  return [misfortune(random)];
}

function misfortune(random: Random): Misfortune {
  const side = random.pick(['P', 'S'] as const);
  const at = random.between(15, 700);
  const clean = random.chance(0.6);
  const step = random.pick(stepsOf(side).filter(s => !seldom.test(s)));
  const nth = 1 + random.below(12);
  const pauseMs = random.pick([30, 90, 150, 300, 500]);
  const kinds: (() => Misfortune)[] = [
    () => ({ kind: 'nothing' }),
    () => ({ kind: 'crash', side, at, clean }),
    () => ({ kind: 'crash-at-step', side, step, nth, clean }),
    () => ({ kind: 'crash-at-step', side, step, nth, clean }),
    () => ({ kind: 'pause', side, at, ms: pauseMs }),
    () => ({ kind: 'pause-at-step', side, step, nth, ms: pauseMs }),
    () => pauseFailover(random, nth),
    () => ({ kind: 'silence', at, ms: random.pick([30, 120, 300, 2000]) }),
    () => ({ kind: 'cut', from: side, bytes: random.below(side === 'P' ? 400_000 : 900) }),
    () => ({
      kind: 'cut',
      from: side,
      bytes: random.below(side === 'P' ? 900_000 : 9000),
      port: ports.nbd,
    }),
    () => ({ kind: 'failover', side, at }),
    () => ({ kind: 'failover-at-step', side, step, nth }),
    () => ({ kind: 'failover-both', at, lag: random.between(-20, 60) }),
    () => ({ kind: 'shutdown', at }),
  ];
  return random.pick(kinds)();
}

function pauseFailover(random: Random, nth: number): Misfortune {
  const step = random.pick(stepsOf('P').filter(s => !seldom.test(s)));
  const ms = random.chance(0.5) ? random.between(60, 90) : random.between(5, 300);
  const lag = random.chance(0.5) ? random.between(0, 9) : random.between(0, 120);
  return { kind: 'pause-failover', side: 'P', step, nth, ms, lag };
}
