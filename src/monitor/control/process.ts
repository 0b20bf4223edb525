/** The VM among other VMs. */
import type { ProcessControl } from '../vm.js';
import type { ControlParts } from './parts.js';

export function processControl({
  machine,
  colo,
  clock,
  pid,
  logInto,
}: ControlParts): ProcessControl {
  const startedMs = clock.nowMs();
  return {
    pid,
    get ageMs() {
      return Math.round(clock.nowMs() - startedMs);
    },
    get role() {
      if (colo.mode !== 'none') return colo.mode;
      return machine.runState === 'inmigrate' && machine.spec.role === 'secondary'
        ? 'secondary'
        : 'alone';
    },
    get peer() {
      return colo.mode === 'none' ? undefined : colo.info().peer;
    },
    get isProtected() {
      return this.pair === 'protected';
    },
    get pair() {
      const { pair } = colo.info();
      return pair === 'alone' && this.role === 'secondary' ? 'waiting' : pair;
    },
    get why() {
      return colo.info().why;
    },
    get sinceMs() {
      return Math.round(colo.info().sinceMs ?? this.ageMs);
    },
    get lastCheckpointMs() {
      const ms = colo.info().lastCheckpointMs;
      return ms === undefined ? undefined : Math.round(ms);
    },
    ramBytes: machine.spec.ramBytes,
    logInto,
  };
}
