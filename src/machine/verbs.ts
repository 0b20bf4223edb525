/**
 * What a user's verb does in each run state, as one table, so that every state is covered and the
 * answer stands in one place. lifecycle.ts carries the verbs out; its head draws the states.
 */
import { VmError } from '../base/errors.js';
import type { MachineState } from './run-state.js';

const verbs = ['cont', 'stop', 'reset', 'powerdown', 'announce', 'migrate'] as const;
export type Verb = (typeof verbs)[number];

/**
 * Three situations have no run state of their own: `handing-over` is `colo` while the other side of
 * the pair is being given the guest, `gone` is postmigrate without a way back, `ending` is any
 * state while the process is being ended.
 */
export type Situation = MachineState | 'handing-over' | 'gone' | 'ending';

/**
 * later: done when the checkpoint or migration that holds the guest is over. nothing: it is the
 * case already. Any other word: why the verb is refused.
 */
type Answer = 'now' | 'later' | 'nothing' | keyof typeof refusals;

// prettier-ignore
const table: Readonly<Record<Situation, readonly Answer[]>> = {
  //                  cont           stop       reset     powerdown  announce  migrate
  prelaunch:        ['now',         'nothing', 'now',     'later',   'now',    'now'],
  inmigrate:        ['awaited',     'notHere', 'notHere', 'notHere', 'notHere', 'awaiting'],
  running:          ['nothing',     'now',     'now',     'now',     'now',    'now'],
  paused:           ['now',         'nothing', 'now',     'later',   'now',    'now'],
  'io-error':       ['now',         'nothing', 'now',     'later',   'now',    'now'],
  colo:             ['checkpoint',  'later',   'later',   'later',   'now',    'now'],
  'handing-over':   ['handing',     'handing', 'handing', 'handing',  'now',    'now'],
  'finish-migrate': ['unfinalized', 'later',   'later',   'later',   'now',    'now'],
  shutdown:         ['resetFirst',  'nothing', 'now',     'later',   'now',    'now'],
  'internal-error': ['resetFirst',  'nothing', 'now',     'later',   'now',    'now'],
  postmigrate:      ['now',         'nothing', 'now',     'later',   'now',    'migrated'],
  gone:             ['elsewhere',   'nothing', 'notHere', 'notHere', 'notHere', 'leftForGood'],
  ending:           ['ending',      'ending',  'ending',  'ending',  'ending', 'ending'],
};

const AFTER_MIGRATION = "Can't migrate the vm that was paused due to previous migration";
const refusals = {
  awaited: () =>
    new VmError('the machine waits for a migration; it starts by itself when that is complete'),
  awaiting: () => new VmError('Guest is waiting for an incoming migration'),
  checkpoint: () => new VmError('COLO checkpoint in progress'),
  handing: (verb: Verb) =>
    new VmError(
      `the guest is being handed over to the other side, whose monitor ${deeds[verb]} it`,
    ),
  unfinalized: () => new VmError('Migration is not finalized yet'),
  resetFirst: () => new VmError('Resetting the Virtual Machine is required'),
  migrated: () => new VmError(AFTER_MIGRATION, { hint: 'cont takes the guest up again.' }),
  leftForGood: () => new VmError(AFTER_MIGRATION),
  elsewhere: () => new VmError('the guest went on elsewhere'),
  ending: () => new VmError('this VM is being ended'),
  /** A secondary's guest until it takes over, or one that went on in another process. */
  notHere: (verb: Verb) =>
    new VmError(
      'there is no guest here: it runs, if it runs, in another process, whose monitor ' +
        `${deeds[verb]} it`,
      { hint: 'A secondary has its guest when it has taken over.' },
    ),
} satisfies Record<string, (verb: Verb) => VmError>;

const deeds: Readonly<Record<Verb, string>> = {
  cont: 'continues',
  stop: 'stops',
  reset: 'resets',
  powerdown: 'presses the power button of',
  announce: 'announces',
  migrate: 'migrates',
};

/** VmError: the verb is refused. */
export function answerTo(verb: Verb, situation: Situation): 'now' | 'later' | 'nothing' {
  const answer = table[situation][verbs.indexOf(verb)];
  if (answer === 'now' || answer === 'later' || answer === 'nothing') return answer;
  throw refusals[answer](verb);
}

export const endingError = refusals.ending;

/** `cont` of a machine without a kernel. */
export const nothingToRun = () =>
  new VmError('there is nothing to run: this VM was started without -kernel', {
    hint:
      'Start it with -kernel, and with -initrd and -append what the kernel needs; or with a ' +
      'disk, and the package seabios.',
  });

/** `reset` of one. */
export const nothingToBoot = () =>
  new VmError('this VM was started without -kernel: it cannot boot again', {
    hint: 'Start it with -kernel, -initrd and -append; a secondary with those of its primary.',
  });
