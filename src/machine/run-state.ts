/**
 * The machine's run state and the moves that exist (QAPI RunState). Any other move is our mistake.
 */
import { assert } from '../base/errors.js';
import { event, tracer } from '../base/trace.js';
import type { RunState } from '../qapi/types.js';

const trace = tracer('colo', {
  vm_state_change: event<{ old: string; new: string }>(),
});

/** The run states that a machine can be in. */
export type MachineState = Extract<
  RunState,
  | 'prelaunch'
  | 'inmigrate'
  | 'running'
  | 'paused'
  | 'io-error'
  | 'colo'
  | 'finish-migrate'
  | 'shutdown'
  | 'internal-error'
  | 'postmigrate'
>;

const moves: Readonly<Record<MachineState, readonly MachineState[]>> = {
  prelaunch: [
    'running',
    'paused',
    'inmigrate',
    'colo',
    'finish-migrate',
    'shutdown',
    'internal-error',
    'postmigrate',
  ],
  inmigrate: ['running', 'paused', 'colo', 'shutdown', 'internal-error', 'postmigrate'],
  running: [
    'paused',
    'io-error',
    'colo',
    'finish-migrate',
    'shutdown',
    'internal-error',
    'postmigrate',
  ],
  paused: ['running', 'colo', 'finish-migrate', 'shutdown', 'internal-error', 'postmigrate'],
  // A disk keeps a failed request; running again tries it again.
  'io-error': [
    'running',
    'paused',
    'colo',
    'finish-migrate',
    'shutdown',
    'internal-error',
    'postmigrate',
  ],
  // From a checkpoint back to the state before it, or to the one that a stop, a shutdown or a
  // failover asked for in between.
  colo: [
    'running',
    'paused',
    'io-error',
    'inmigrate',
    'prelaunch',
    'shutdown',
    'internal-error',
    'postmigrate',
  ],
  // The end of a migration; one that fails goes back.
  'finish-migrate': [
    'running',
    'paused',
    'io-error',
    'prelaunch',
    'shutdown',
    'internal-error',
    'postmigrate',
  ],
  shutdown: ['paused', 'finish-migrate', 'postmigrate'],
  'internal-error': ['paused', 'finish-migrate', 'shutdown', 'postmigrate'],
  postmigrate: ['running', 'paused', 'shutdown'],
};

export class RunStates {
  private current: MachineState;
  private readonly listeners = new Set<(state: MachineState, previous: MachineState) => void>();

  constructor(initial: MachineState) {
    this.current = initial;
  }

  get state(): MachineState {
    return this.current;
  }

  can(next: MachineState): boolean {
    return next === this.current || moves[this.current].includes(next);
  }

  /** A move from a state to itself is not counted. */
  to(next: MachineState): void {
    const previous = this.current;
    if (next === previous) return;
    assert(this.can(next), `invalid runstate transition: '${previous}' -> '${next}'`);
    this.current = next;
    trace.vm_state_change?.({ old: previous, new: next });
    for (const listener of [...this.listeners]) listener(next, previous);
  }

  on(fn: (state: MachineState, previous: MachineState) => void): { dispose(): void } {
    this.listeners.add(fn);
    return { dispose: () => void this.listeners.delete(fn) };
  }
}
