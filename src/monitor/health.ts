/**
 * What an operator wants to know of a pair, in one sentence, and the one line to type if anything
 * is to be done: for `colo status`, the VM's own terminal, and the monitor. It never advises what
 * would be refused.
 */
import type { PairStanding } from '../qapi/types.js';
import { standingOf } from '../vm/standing.js';
import type { Vm } from '../vm/vm.js';

export interface Health {
  readonly pair: PairStanding;
  readonly role: string;
  /** The run state. */
  readonly state: string;
  /** Why COLO or the way into it ended. */
  readonly why?: string;
  /** For how long it has been so. */
  readonly sinceMs?: number;
  readonly peer?: string;
}

export interface Verdict {
  readonly text: string;
  readonly todo?: string;
}

/** The line that lets this side go on: in the monitor, or in a shell. */
export type FailoverLine = 'x_colo_lost_heartbeat' | `colo failover ${string}`;

/** An age below this is not shown. */
const JUST_NOW_MS = 2000;

export function verdict(health: Health, failover: FailoverLine): Verdict {
  const { pair, role, state, why, sinceMs } = health;
  const because = why === undefined ? '' : `: ${why}`;
  const ago = sinceMs === undefined || sinceMs < JUST_NOW_MS ? '' : ` ${ageText(sinceMs)} ago`;
  if (state === 'internal-error') {
    return { text: 'the vCPU stopped with an error: reset or quit it' };
  }
  switch (pair) {
    case 'protected':
      if (role === 'secondary') return { text: 'ready to take over' };
      return { text: 'protected: the loss of this host would be survived' };
    case 'joining':
      return { text: 'on the way into COLO: not protected yet' };
    case 'waiting':
      return { text: `waits for a primary: it cannot take over yet${last(why)}` };
    case 'held':
      return {
        text: `the guest does not run${because}`,
        todo: `to run it here all the same: ${failover}`,
      };
    case 'lost':
      return {
        text: `protection was lost${ago}${because}`,
        todo: `if the other side is surely dead or stopped, let this one go on: ${failover}`,
      };
    case 'taking-over':
      return { text: `takes over${because}` };
    case 'handing-over':
      return { text: 'a planned swap of roles: the secondary is given the guest' };
    case 'superseded':
      return {
        text: 'the other side goes on with the guest, this one never runs again',
        todo: 'end it with quit',
      };
    case 'broken':
      return {
        text: `can never take over, its state is not whole${because}`,
        todo: 'quit, and start it anew',
      };
    case 'ended':
      return { text: 'the guest has shut down, on both sides' };
    case 'alone':
      return { text: alone(health) };
  }
}

/** Of a machine of this process. */
export function healthOf(vm: Pick<Vm, 'machine' | 'colo' | 'ageMs'>): Health {
  const { pair, role, why, sinceMs, peer } = standingOf(vm);
  return { pair, role, state: vm.machine.runState, why, sinceMs, peer };
}

const local = /^(\/|127\.|::1|\[::1|::ffff:127\.|localhost:)/;

/**
 * Why a failover may be wrong now: this side cannot tell whether the other one still runs. There is
 * no such doubt where the peer answers, or where the kernel knows that a peer on this host has
 * ended.
 */
export function failoverDoubt(health: Health): string | undefined {
  const { pair, why = 'nothing is known of it', peer = '' } = health;
  if (pair === 'held') return `The other side may run this guest: ${why}.`;
  if (pair !== 'lost' || (local.test(peer) && /closed the connection/.test(why))) return undefined;
  const other = peer === '' ? 'The other side' : `The other side, ${peer},`;
  return `${other} may still run: ${why}. If it goes on too, there are two of this guest.`;
}

/** What has become of the pair, told when it happens: a line, and if need be what to type. */
export function pairNews(health: Health, failover: FailoverLine): string[] {
  const { text, todo } = verdict(health, failover);
  return todo === undefined ? [`COLO: ${text}`] : [`COLO: ${text}`, capital(todo)];
}

const capital = (text: string) => `${text.slice(0, 1).toUpperCase()}${text.slice(1)}`;

function alone({ state, why, sinceMs }: Health): string {
  if (state === 'postmigrate') return 'its guest was migrated: it is elsewhere, or in a file';
  if (why === undefined) return 'not protected: it has no secondary';
  return `not protected${sinceMs === undefined ? '' : ` for ${ageText(sinceMs)}`}: ${why}`;
}

const last = (why: string | undefined) => (why === undefined ? '' : ` (the last one: ${why})`);

/** `45s`, `3m`, `2h`, `5d`: one unit, as in a list. */
export function ageText(ms: number): string {
  const seconds = Math.floor(ms / 1000);
  const units = [
    [86_400, 'd'],
    [3600, 'h'],
    [60, 'm'],
  ] as const;
  const unit = units.find(([size]) => seconds >= size);
  return unit ? `${Math.floor(seconds / unit[0])}${unit[1]}` : `${seconds}s`;
}
