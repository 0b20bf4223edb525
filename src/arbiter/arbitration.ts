/**
 * What a side of a pair does when something changes and an arbiter decides, as one table of (state,
 * event) -> state and action. The states and events are those of the model (test/model/pair.pml),
 * which is checked exhaustively; a spec compares the two, move by move.
 */
import type { ArbiterRecord } from './record.js';

export const arbiterStates = [
  'candidate', // no guest runs here; it may join a pair as a replica
  'returned', // this host was down, and has not asked the arbiter yet
  'joining', // a replica that holds no whole state yet
  'standby', // a replica that holds a whole state
  'bidding', // its owner is lost: the arbiter is asked whether it takes over
  'taking-over', // it has won; the lease of the old owner may still run
  'alone', // the owner, without a replica: its output leaves
  'forming', // the owner has found a replica; its output still leaves
  'confirming', // a first whole state is offered; the record does not call the replica in step yet
  'leading', // the owner of a replica in step
  'parting', // its replica asks to leave, and is in step until the record says that it is not
  'handing-over', // a planned swap: nothing of the owner leaves any more
  'claiming', // the replica is lost: the arbiter is asked whether this side goes on alone
  'ordered', // an operator has decided, and the arbiter does not know it yet
  'down',
] as const;
export type ArbiterState = (typeof arbiterStates)[number];

export const arbiterEvents = [
  'pair-forms',
  'offered', // the replica may hold a whole state from here on
  'replica-whole',
  'out-of-step', // the replica gives its right up, or its owner drops it
  'leave', // the replica asks to leave
  'peer-lost', // of a host that was down: its peer has not come for long enough
  'peer-won', // the other side says that the record is its own
  'swap', // a planned change of roles
  'won',
  'lost',
  'away', // the arbiter has not answered within its bound
  'lease-over', // or the old owner has said that nothing of it leaves any more
  'operator',
  'crash',
  'came-back',
  'own-record', // the record names this host, and no replica has come that holds a state
] as const;
export type ArbiterEvent = (typeof arbiterEvents)[number];

export const arbiterActions = [
  'go-on', // the guest runs and its output leaves
  'lead', // the guest runs; its output leaves as the replica acknowledges it
  'hold', // the guest may run; nothing of it leaves before the arbiter has answered
  'follow', // what the owner sends is taken; no guest runs
  'keep', // the last whole state is kept; no guest runs
  'take-over', // the old owner is waited out, then the guest runs from the last whole state
  'stop', // the guest stops for good; this side is a candidate for the next pair
  'none', // of a host that is down
] as const;
export type ArbiterAction = (typeof arbiterActions)[number];

export type Decision = readonly [to: ArbiterState, action: ArbiterAction];
type Row = Readonly<Partial<Record<ArbiterEvent, Decision>>>;

const CRASH: Row = { crash: ['down', 'none'] };
const STOP: Decision = ['candidate', 'stop'];
const CLAIM: Decision = ['claiming', 'hold'];

export const arbitrationTable: Readonly<Record<ArbiterState, Row>> = {
  candidate: { ...CRASH, 'pair-forms': ['joining', 'follow'] },
  returned: { ...CRASH, 'own-record': CLAIM, 'peer-lost': ['bidding', 'keep'], lost: STOP },
  joining: { ...CRASH, 'replica-whole': ['standby', 'follow'], 'peer-lost': STOP },
  standby: {
    ...CRASH,
    'peer-lost': ['bidding', 'keep'],
    swap: ['bidding', 'keep'],
    'peer-won': STOP,
    'out-of-step': STOP,
  },
  bidding: {
    ...CRASH,
    won: ['taking-over', 'take-over'],
    lost: STOP,
    away: ['bidding', 'keep'],
    operator: ['ordered', 'go-on'],
    'peer-won': STOP,
  },
  'taking-over': { ...CRASH, 'lease-over': ['alone', 'go-on'] },
  alone: { ...CRASH, 'pair-forms': ['forming', 'go-on'] },
  forming: { ...CRASH, offered: ['confirming', 'hold'], 'peer-lost': ['alone', 'go-on'] },
  confirming: {
    ...CRASH,
    'replica-whole': ['confirming', 'lead'],
    won: ['leading', 'lead'],
    away: ['confirming', 'lead'],
    lost: STOP,
    'peer-lost': CLAIM,
    'peer-won': STOP,
  },
  leading: {
    ...CRASH,
    'peer-lost': CLAIM,
    'out-of-step': CLAIM,
    leave: ['parting', 'lead'],
    swap: ['handing-over', 'hold'],
    'peer-won': STOP,
  },
  parting: {
    ...CRASH,
    won: ['alone', 'go-on'],
    away: ['confirming', 'lead'],
    lost: STOP,
    'peer-lost': CLAIM,
    'peer-won': STOP,
  },
  'handing-over': { ...CRASH, 'peer-lost': CLAIM, 'peer-won': STOP },
  claiming: {
    ...CRASH,
    won: ['alone', 'go-on'],
    lost: STOP,
    away: CLAIM,
    operator: ['ordered', 'go-on'],
    'peer-won': STOP,
  },
  ordered: { ...CRASH, won: ['alone', 'go-on'], away: ['ordered', 'go-on'] },
  down: { 'came-back': ['returned', 'none'] },
};

/** undefined: the event means nothing in this state. */
export const decide = (state: ArbiterState, event: ArbiterEvent): Decision | undefined =>
  arbitrationTable[state][event];

/** This side at the time of the question. */
export interface Asker {
  readonly node: string;
  /** Of the state that it runs, or holds whole; undefined: it has none. */
  readonly branch: string | undefined;
}

/**
 * A replica that the record calls in step, with a state of the owner's branch. And the owner by the
 * record that follows another side: it won before it was down, and knew nothing of it when that
 * side came, whose state it holds whole now.
 */
export const mayTakeOver = (record: ArbiterRecord, { node, branch }: Asker): boolean =>
  record.owner === node || (record.inStep && record.replica === node && record.branch === branch);
