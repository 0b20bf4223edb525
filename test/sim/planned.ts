/**
 * The scenarios that chance would not lead to often enough: a misfortune at every step of either
 * side, each kind of message damaged, and what users do while the pair is busy. Together they pass
 * every step of the protocol.
 */
import { coloSteps, type ColoStep } from '../../src/colo/steps.js';
import type { Misfortune, Scenario } from './misfortunes.js';
import { scenarioOf, stepsOf } from './scenario.js';

/** Where bits are turned over: enough places to hit every kind of message. */
const CORRUPTIONS = 60;
/** Seeds that once broke a rule. */
const FOUND = [528, 6939, 900_117, 1_320_230_140];

export function plannedScenarios(): Scenario[] {
  const found = FOUND.map(scenarioOf);
  return [...crashes(), ...failovers(), ...sleeps(), ...corruptions(), ...orders(), ...found];
}

/** One misfortune; the machines by the seed. */
function withOne(seed: number, misfortune: Misfortune, more: Partial<Scenario> = {}): Scenario {
  const { disks, nics, overlays } = scenarioOf(seed);
  return { seed, misfortunes: [misfortune], disks, nics, overlays, ...more };
}

/** At every step of both sides, at its first passing and when the pair is in step. */
const crashes = () =>
  (['P', 'S'] as const).flatMap(side =>
    [1, 3].flatMap(nth =>
      stepsOf(side).map(step =>
        withOne(
          1000 * nth + coloSteps.indexOf(step),
          { kind: 'crash-at-step', side, step, nth, clean: nth === 3 },
          { endMs: 700 },
        ),
      ),
    ),
  );

/** Asked for at every step of the secondary. */
const failovers = () =>
  stepsOf('S')
    .filter(step => step.startsWith('secondary'))
    .map(step =>
      withOne(
        5000 + coloSteps.indexOf(step),
        { kind: 'failover-at-step', side: 'S', step, nth: 3 },
        { endMs: 600 },
      ),
    );

/** Of the primary: it wakes before, at, or after the failover. */
const SLEEPS = [
  [69, 3],
  [71, 4],
  [76, 6],
  [130, 30],
  [260, 80],
] as const;
const whereItSleeps = /offered|released?$|vmstate|cut|resumed|committed|half|request$|reply$/;

const sleeps = () =>
  stepsOf('P')
    .filter(step => whereItSleeps.test(step))
    .flatMap(step =>
      SLEEPS.map(([ms, lag]) =>
        withOne(
          7000 + coloSteps.indexOf(step) + ms,
          { kind: 'pause-failover', side: 'P', step, nth: 4, ms, lag },
          { noise: ms === 71 || ms === 130, endMs: 400 },
        ),
      ),
    );

/** A byte of the stream is wrong: the pair ends in order, nothing wrong is loaded. */
const corruptions = () =>
  Array.from({ length: CORRUPTIONS }, (_, i) => {
    const from = i % 3 === 2 ? 'S' : 'P';
    const byte = Math.floor(from === 'P' ? 130 + i ** 3 * 1.5 : 20 + i * 9);
    return withOne(8000 + i, { kind: 'corrupt', from, byte }, { endMs: 500 });
  });

const between = (from: number, to: number, by: number) =>
  Array.from({ length: Math.ceil((to - from) / by) }, (_, i) => from + i * by);

/** Shutdown, failover on either side or on both, quit at any moment of a checkpoint. */
const orders = () => [
  withOne(1, { kind: 'shutdown', at: 200 }),
  ...(['P', 'S'] as const).flatMap(side => [
    withOne(2, { kind: 'failover', side, at: 205 }),
    ...between(205, 225, 1.3).map(at => withOne(at, { kind: 'verb', verb: 'quit', side, at })),
  ]),
  ...between(-6, 6.5, 0.5).map(lag =>
    withOne(3 + lag * 2, { kind: 'failover-both', at: 210 + lag, lag }, { endMs: 500 }),
  ),
];

/**
 * Steps that have specs of their own: a primary is started again in operation.spec; only a large
 * epoch is announced as a long copy, in secondary-peer.spec; processes are known over real sockets;
 * a user changes the interval; a replica is dropped where an arbiter decides, in arbiter.spec;
 * swaps, leaving and marks of bitmaps.
 */
const elsewhere = new RegExp(
  '-(superseded|who-runs|follows|copying|process|heartbeat-interval|hand-over|handing-over|' +
    'leave-request|leave-refused|marks|marks-piece|sent-dropped|got-dropped)$',
);

export const stepsNotIn = (seen: ReadonlySet<ColoStep>) =>
  coloSteps.filter(step => !seen.has(step) && !elsewhere.test(step));
