/**
 * Where a side of the pair stands, as one table of (state, event) -> state for each side. Every
 * failure and every failover request ends here. A move is a compare-and-swap: an event that the
 * present state does not know is refused, and whoever sent it stops.
 */
import type { FailoverStatus, PairStanding } from '../qapi/types.js';
import { trace } from './trace.js';

export const coloStates = [
  'none', // not in COLO
  'entering', // no complete first state on the secondary: a failover there is impossible
  'protected', // primary: the peer may hold a complete state. secondary: it does
  'loading', // secondary: vmstate-received is decided, only forward from here
  'relaunch', // secondary: failover was asked while loading; it follows
  'handing-over', // a planned swap: primary: nothing of it leaves any more; secondary: it is asked
  'lost', // the peer is lost, COLO_EXIT was told; both sides wait for x_colo_lost_heartbeat
  'require', // failover asked
  'active', // the procedure runs
  'completed', // this side goes on alone
  'yielded', // the other side goes on; this guest never runs again
  'unfinished', // the takeover failed before the guest ran; x_colo_lost_heartbeat goes on with it
  'broken', // this side's state is not whole; it can never take over
  'ended', // the guest shut down, both sides with it
] as const;
export type ColoState = (typeof coloStates)[number];

export const coloEvents = [
  'enter',
  'offered',
  'received',
  'loaded',
  'error',
  'lost-heartbeat',
  'begin',
  'done',
  'failed',
  'peer-alone',
  'peer-left',
  'leave',
  'guest-shutdown',
  'hand-over',
] as const;
export type ColoEvent = (typeof coloEvents)[number];

export type TransitionTable = Readonly<
  Partial<Record<ColoState, Readonly<Partial<Record<ColoEvent, ColoState>>>>>
>;

/**
 * A primary becomes `protected` when it offers the first complete state: from then on the secondary
 * may hold it and may be told to run.
 */
export const primaryTable: TransitionTable = {
  none: { enter: 'entering' },
  entering: { offered: 'protected', error: 'none', 'lost-heartbeat': 'require' },
  protected: {
    offered: 'protected',
    error: 'lost',
    'lost-heartbeat': 'require',
    'peer-alone': 'yielded',
    'peer-left': 'require',
    leave: 'yielded',
    'guest-shutdown': 'ended',
    'hand-over': 'handing-over',
  },
  'handing-over': {
    error: 'lost',
    'peer-alone': 'yielded',
    'peer-left': 'require',
    leave: 'yielded',
  },
  lost: {
    'lost-heartbeat': 'require',
    'peer-alone': 'yielded',
    'peer-left': 'require',
    leave: 'yielded',
  },
  require: { begin: 'active' },
  active: { done: 'completed', failed: 'lost' },
};

/**
 * A secondary that loads an epoch finishes that first; an error of the link is handled afterwards.
 */
export const secondaryTable: TransitionTable = {
  none: { enter: 'entering' },
  entering: { received: 'loading', error: 'none', 'peer-alone': 'none' },
  protected: {
    received: 'loading',
    error: 'lost',
    'lost-heartbeat': 'require',
    'peer-alone': 'yielded',
    leave: 'yielded',
    'guest-shutdown': 'ended',
    'hand-over': 'handing-over',
  },
  'handing-over': { 'lost-heartbeat': 'require', 'peer-alone': 'yielded', leave: 'yielded' },
  loading: {
    loaded: 'protected',
    failed: 'broken',
    'lost-heartbeat': 'relaunch',
    leave: 'yielded',
  },
  relaunch: { loaded: 'require', failed: 'broken', leave: 'yielded' },
  lost: { 'lost-heartbeat': 'require', 'peer-alone': 'yielded', leave: 'yielded' },
  require: { begin: 'active' },
  active: { done: 'completed', failed: 'unfinished', 'peer-alone': 'yielded' },
  unfinished: { 'lost-heartbeat': 'require' },
};

/** QEMU's word for it. */
export function failoverStatus(state: ColoState): FailoverStatus {
  return state === 'require' || state === 'active' || state === 'completed' || state === 'relaunch'
    ? state
    : 'none';
}

const standings: Readonly<Record<ColoState, PairStanding>> = {
  none: 'alone',
  entering: 'joining',
  protected: 'protected',
  loading: 'protected',
  'handing-over': 'handing-over',
  relaunch: 'taking-over',
  lost: 'lost',
  unfinished: 'lost',
  require: 'taking-over',
  active: 'taking-over',
  completed: 'alone',
  yielded: 'superseded',
  broken: 'broken',
  ended: 'ended',
};

/** What a state means for a decision about the pair. */
export const pairState = (state: ColoState): PairStanding => standings[state];

export class FailoverStates {
  private current: ColoState = 'none';
  /** The pair stands in another way than before. */
  onPair: () => void = () => undefined;

  constructor(private readonly table: TransitionTable) {}

  get state(): ColoState {
    return this.current;
  }

  can(event: ColoEvent): boolean {
    return this.table[this.current]?.[event] !== undefined;
  }

  /** True if the event was valid in the present state, which is now the next one. */
  move(event: ColoEvent): boolean {
    const to = this.table[this.current]?.[event];
    if (to === undefined) {
      trace.failover_refused?.({ state: this.current, event });
      return false;
    }
    trace.failover_set_state?.({ from: this.current, event, to, status: failoverStatus(to) });
    const before = pairState(this.current);
    this.current = to;
    if (pairState(to) !== before) this.onPair();
    return true;
  }
}

/** Why x-colo-lost-heartbeat is refused in this state. */
export function refusal(state: ColoState): string {
  switch (state) {
    case 'require':
    case 'active':
    case 'relaunch':
      return 'COLO failover is already actived';
    case 'entering':
      return 'the secondary holds no complete first state yet: it cannot take over';
    case 'yielded':
      return 'the other side goes on: this side cannot take over';
    case 'handing-over':
      return 'the guest is being handed over: wait for what comes of it';
    case 'broken':
      return 'the state of this secondary is not whole: it cannot take over';
    default:
      return "The feature 'colo' is not enabled";
  }
}

/** Why a secondary takes no further primary. */
export function taken(state: ColoState): string {
  const over =
    state === 'yielded' ||
    state === 'broken' ||
    state === 'completed' ||
    state === 'ended' ||
    state === 'unfinished';
  return over
    ? 'this secondary has been in COLO: start it anew'
    : 'this secondary has a primary already';
}
