/** The VM among other VMs: what it is to its peer, and how their pair stands. */
import type { PairStanding } from '../qapi/types.js';
import type { Vm } from './vm.js';

export const vmRoles = ['primary', 'secondary', 'alone'] as const;

export interface Standing {
  /**
   * primary, secondary: its role in a pair that is joined or waits to be. alone: there is no peer
   * that could take over.
   */
  readonly role: (typeof vmRoles)[number];
  readonly peer: string | undefined;
  readonly pair: PairStanding;
  /** Why COLO, or the way into it, ended the last time. */
  readonly why: string | undefined;
  /** For how long the pair has stood so. */
  readonly sinceMs: number;
  /** Since the last checkpoint that the secondary holds whole; undefined: there was none. */
  readonly lastCheckpointMs: number | undefined;
}

export function standingOf({
  machine,
  colo,
  ageMs,
}: Pick<Vm, 'machine' | 'colo' | 'ageMs'>): Standing {
  const info = colo.info();
  const waits = machine.runState === 'inmigrate' && machine.spec.role === 'secondary';
  const role = colo.mode !== 'none' ? colo.mode : waits ? 'secondary' : 'alone';
  const last = info.lastCheckpointMs;
  return {
    role,
    peer: colo.mode === 'none' ? undefined : info.peer,
    pair: info.pair === 'alone' && role === 'secondary' ? 'waiting' : info.pair,
    why: info.why,
    sinceMs: Math.round(info.sinceMs ?? ageMs),
    lastCheckpointMs: last === undefined ? undefined : Math.round(last),
  };
}
