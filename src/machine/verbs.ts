/**
 * What a user's verb does in each run state: one table, so that no state is forgotten and none has
 * a second opinion. lifecycle.ts carries the verbs out; its head draws the states.
 */
import { VmError } from '../base/errors.js';
import type { MachineState } from './run-state.js';

const verbs = ['cont', 'stop', 'reset', 'powerdown', 'announce', 'migrate'] as const;
export type Verb = (typeof verbs)[number];

/**
 * Two situations have no run state of their own: `gone` is postmigrate without a way back, `ending`
 * is any state while the process is being ended.
 */
export type Situation = MachineState | 'gone' | 'ending';

/** later: when what holds the guest is over. nothing: it is so already. Any other: refused. */
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
  'finish-migrate': ['unfinalized', 'later',   'later',   'later',   'now',    'now'],
  shutdown:         ['resetFirst',  'nothing', 'now',     'later',   'now',    'now'],
  'internal-error': ['resetFirst',  'nothing', 'now',     'later',   'now',    'now'],
  postmigrate:      ['now',         'nothing', 'now',     'later',   'now',    'migrated'],
  gone:             ['elsewhere',   'nothing', 'notHere', 'notHere', 'notHere', 'leftForGood'],
  ending:           ['ending',      'ending',  'ending',  'ending',  'ending', 'ending'],
};

const after = "Can't migrate the vm that was paused due to previous migration";
const refusals = {
  awaited: () =>
    new VmError('the machine waits for a migration; it starts by itself when that is complete'),
  awaiting: () => new VmError('Guest is waiting for an incoming migration'),
  checkpoint: () => new VmError('COLO checkpoint in progress'),
  unfinalized: () => new VmError('Migration is not finalized yet'),
  resetFirst: () => new VmError('Resetting the Virtual Machine is required'),
  migrated: () => new VmError(after, { hint: 'cont takes the guest up again.' }),
  leftForGood: () => new VmError(after),
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
