/** A seed becomes a scenario: what the machines are, which misfortunes, where, when. */
import { coloSteps } from '../../src/colo/steps.js';
import { Random } from '../support/random.js';
import {
  type ArbiterTrouble,
  type Misfortune,
  type Name,
  type Scenario,
  roleVerbs,
  verbs,
} from './misfortunes.js';
import { ports } from './command-line.js';

export const stepsOf = (side: Name) =>
  coloSteps.filter(step =>
    side === 'P' ? step.startsWith('primary') : !step.startsWith('primary'),
  );

/** Steps that are passed once, or at every heartbeat: chance would seldom hit what lies between. */
const seldom = new RegExp(
  'ping|pong|sent-error|got-error|stop-request|stopped|going-alone|guest-shutdown|takeover|' +
    'aborted|abort-epoch|gate-closed|alone|disks-stopped|hello|accept|digest|precopy|round|ready',
);

/** Every third has an arbiter; the others are what they would be without those. */
export function scenarioOf(seed: number): Scenario {
  const scenario = attendedOf(seed);
  return seed % 3 === 0 ? unattended(scenario) : scenario;
}

const YEAR_MS = 365 * 24 * 3600_000;

/** All that a person would decide or ask for falls away. */
function unattended(scenario: Scenario): Scenario {
  const random = new Random(Math.imul(scenario.seed, 0x85ebca6b));
  const byPeople = /^(failover|failover-at-step|failover-both|verb)$/;
  const kept = scenario.misfortunes.filter(({ kind }) => !byPeople.test(kind)).map(withoutOrder);
  // Where nobody gives an order it takes a blow to have one side go on.
  const more = withoutOrder(random.pick([hosts, network])(random));
  const rest = kept.every(m => together(m, more) && together(more, m)) ? [...kept, more] : kept;
  const arbiter: ArbiterTrouble = {
    loseAnswers: random.pick([0, 0.1, 0.3]),
    delayMs: random.pick([
      [0.2, 5],
      [0.2, 5],
      [0.2, 60],
    ] as const),
    clocksApartMs: random.pick([0, 0, 12 * YEAR_MS, -40 * YEAR_MS]),
  };
  const troubles = Array.from({ length: random.pick([0, 1, 1, 2]) }, () => arbiterTrouble(random));
  const roles = random.chance(0.5) ? [roleVerb(random)] : [];
  return { ...scenario, misfortunes: [...rest, ...troubles, ...roles], arbiter };
}

/** A person's, and none that decides where two sides cannot ask each other. */
function roleVerb(random: Random): Misfortune {
  const verb = random.pick([...roleVerbs, 'switchover' as const]);
  return { kind: 'verb', side: verb === 'leave' ? 'S' : 'P', at: moment(random), verb };
}

/** A paused primary that an order is given beside may still win an arbiter that is slow to hear. */
const withoutOrder = (m: Misfortune): Misfortune =>
  m.kind === 'pause-failover' ? { ...m, kind: 'pause-at-step' as const } : m;

function arbiterTrouble(random: Random): Misfortune {
  const kind = random.pick(['arbiter-away', 'arbiter-away', 'arbiter-stale'] as const);
  const ms = random.pick([60, 300, 900]);
  return { kind, side: either(random), at: random.between(15, 700), ms };
}

function attendedOf(seed: number): Scenario {
  const random = new Random(Math.imul(seed, 2654435761));
  return {
    seed,
    misfortunes: misfortunesOf(random),
    noise: random.chance(0.4),
    disks: random.pick([1, 1, 2, 3]),
    nics: random.pick([1, 1, 2]),
    overlays: random.pick(['memory', 'memory', 'qcow2']),
    copies: random.chance(0.3),
    bulky: random.chance(0.2),
    different: random.chance(0.3),
    checkpointDelayMs: random.pick([undefined, undefined, 20, 50, 200]),
    // Drawn last: what a seed was before stays as it was.
    checkpointGapMs: random.pick([undefined, 2, 10]),
  };
}

/** Two or three as a rule. */
function misfortunesOf(random: Random): Misfortune[] {
  const count = random.pick([1, 1, 2, 2, 2, 3]);
  const chosen: Misfortune[] = [];
  for (let tries = 0; chosen.length < count && tries < 20; tries++) {
    const next = misfortune(random);
    if (next.kind === 'nothing') return chosen;
    if (chosen.every(other => together(other, next) && together(next, other))) chosen.push(next);
  }
  return chosen;
}

/**
 * Two operators who decide without each other are beyond the protocol, unless the connection works
 * all the time. One connection is cut at one place.
 */
function together(a: Misfortune, b: Misfortune): boolean {
  if (a.kind === 'failover-both') return b.kind === 'verb' || b.kind === 'tap-full';
  // What a job has moved to another file, the same command does not find.
  if (a.kind === 'verb' && a.verb === 'mirror') return b.kind !== 'restart';
  return !(a.kind === 'cut' && b.kind === 'cut');
}

function misfortune(random: Random): Misfortune {
  const groups = [hosts, hosts, network, network, operator, storage, clock, verb] as const;
  return random.chance(0.04) ? { kind: 'nothing' } : random.pick(groups)(random);
}

const either = (random: Random): Name => random.pick(['P', 'S']);
const moment = (random: Random) => random.between(15, 600);
const nth = (random: Random) => 1 + random.below(12);
const step = (random: Random, side: Name) =>
  random.pick(stepsOf(side).filter(s => !seldom.test(s)));

function hosts(random: Random): Misfortune {
  const side = either(random);
  const clean = random.chance(0.6);
  const ms = random.pick([30, 90, 150, 300, 500]);
  const at = moment(random);
  const there = { step: step(random, side), nth: nth(random) };
  return random.pick<Misfortune>([
    { kind: 'crash', side, at, clean },
    { kind: 'crash-at-step', side, ...there, clean },
    { kind: 'crash-at-step', side, ...there, clean },
    { kind: 'pause', side, at, ms },
    { kind: 'restart', side, at, clean, afterMs: random.between(5, 300) },
    { kind: 'restart', side, at, clean, afterMs: random.between(5, 300) },
    { kind: 'pause-at-step', side, ...there, ms },
    pauseFailover(random),
  ]);
}

function network(random: Random): Misfortune {
  const side = either(random);
  const at = moment(random);
  const port = random.pick([ports.migration, ports.nbd]);
  const bytes = random.below(side === 'P' ? 500_000 : port === ports.nbd ? 9000 : 900);
  const code = random.pick(['ECONNRESET', 'ETIMEDOUT'] as const);
  const latencyMs = random.pick([
    [2, 20],
    [20, 60],
    [100, 300],
  ] as const);
  return random.pick<Misfortune>([
    { kind: 'silence', at, ms: random.pick([30, 120, 300, 2000]) },
    { kind: 'cut', from: side, bytes, port },
    { kind: 'cut-now', at, port },
    { kind: 'one-sided', side, at, ms: random.pick([30, 120, 300]), code, port },
    { kind: 'slow-link', at, ms: random.between(50, 600), latencyMs },
  ]);
}

function operator(random: Random): Misfortune {
  const side = either(random);
  const at = moment(random);
  const there = { step: step(random, side), nth: nth(random) };
  return random.pick<Misfortune>([
    { kind: 'failover', side, at },
    { kind: 'failover-at-step', side, ...there },
    { kind: 'failover-both', at, lag: random.between(-20, 60) },
    { kind: 'shutdown', at },
  ]);
}

function storage(random: Random): Misfortune {
  const side = either(random);
  const how = random.pick(['slow', 'EIO', 'ENOSPC'] as const);
  const ms = random.between(20, 400);
  const path = random.pick(['.', '0.img', 'active|hidden']);
  return { kind: 'storage', side, at: moment(random), ms, how, path };
}

function clock(random: Random): Misfortune {
  const at = moment(random);
  const how = random.pick(['freeze-monotonic', 'freeze-wall', 'freeze-both', 'jump-wall'] as const);
  const ms = how === 'jump-wall' ? random.between(-5000, 5000) : random.between(30, 400);
  if (random.chance(0.3))
    return { kind: 'tap-full', side: either(random), at, ms: Math.abs(ms) % 200 };
  return { kind: 'clock', side: either(random), at, ms, how };
}

/** A mirror is of interest while the pair is being made. */
function verb(random: Random): Misfortune {
  const chosen = random.pick(verbs);
  if (chosen === 'mirror')
    return { kind: 'verb', side: 'P', at: random.between(2, 60), verb: chosen };
  return { kind: 'verb', side: either(random), at: moment(random), verb: chosen };
}

function pauseFailover(random: Random): Misfortune {
  const ms = random.chance(0.5) ? random.between(60, 90) : random.between(5, 300);
  const lag = random.chance(0.5) ? random.between(0, 9) : random.between(0, 120);
  const there = { step: step(random, 'P'), nth: nth(random) };
  return { kind: 'pause-failover', side: 'P', ...there, ms, lag };
}
