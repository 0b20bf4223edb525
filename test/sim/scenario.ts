/** A seed becomes a scenario: which misfortune, where, when. */
import { coloSteps } from '../../src/colo/steps.js';
import type { Misfortune, Scenario } from './pair.js';
import { Random } from './world.js';

export const stepsOf = (side: 'P' | 'S') => coloSteps.filter(step => (side === 'P' ? step.startsWith('primary') : !step.startsWith('primary')));
const frequent = /ping|pong|sent-error|got-error|stop-request|stopped|going-alone|guest-shutdown|takeover|aborted|abort-epoch|gate-closed|alone|disks-stopped|hello|accept|digest|precopy|round|ready/;

export function scenarioOf(seed: number): Scenario {
  const random = new Random(seed * 2654435761);
  return { seed, misfortune: misfortune(random), noise: random.chance(0.4) };
}

function misfortune(random: Random): Misfortune {
  const side = random.pick(['P', 'S'] as const);
  const at = random.between(15, 700);
  const clean = random.chance(0.6);
  const step = random.pick(stepsOf(side).filter(s => !frequent.test(s)));
  const nth = 1 + random.below(12);
  const kinds: (() => Misfortune)[] = [
    () => ({ kind: 'nothing' }),
    () => ({ kind: 'crash', side, at, clean }),
    () => ({ kind: 'crash-at-step', side, step, nth, clean }),
    () => ({ kind: 'crash-at-step', side, step, nth, clean }),
    () => ({ kind: 'pause', side, at, ms: random.pick([30, 90, 150, 300, 500]) }),
    () => ({ kind: 'pause-at-step', side, step, nth, ms: random.pick([30, 90, 150, 300, 500]) }),
    () => ({ kind: 'pause-failover', side: 'P', step: random.pick(stepsOf('P').filter(x => !frequent.test(x))), nth, ms: random.chance(0.5) ? random.between(60, 90) : random.between(5, 300), lag: random.chance(0.5) ? random.between(0, 9) : random.between(0, 120) }),
    () => ({ kind: 'silence', at, ms: random.pick([30, 120, 300, 2000]) }),
    () => ({ kind: 'cut', from: side, bytes: random.below(side === 'P' ? 400_000 : 900) }),
    () => ({ kind: 'failover', side, at }),
    () => ({ kind: 'failover-at-step', side, step, nth }),
    () => ({ kind: 'failover-both', at, lag: random.between(-20, 60) }),
    () => ({ kind: 'shutdown', at }),
  ];
  return random.pick(kinds)();
}
