/** The VM among other VMs. */
import type { ProcessControl } from '../vm.js';
import type { ControlParts } from './parts.js';

export function processControl({ machine, colo, clock, pid }: ControlParts): ProcessControl {
  const startedMs = clock.nowMs();
  return {
    pid,
    get ageMs() {
      return Math.round(clock.nowMs() - startedMs);
    },
    get role() {
      if (colo.mode !== 'none') return colo.mode;
      return machine.runState === 'inmigrate' && machine.spec.role === 'secondary' ? 'secondary' : 'alone';
    },
    get peer() {
      return colo.mode === 'none' ? undefined : colo.info().peer;
    },
    get isProtected() {
      const { state } = colo.info();
      return colo.mode !== 'none' && (state === 'protected' || state === 'loading');
    },
    ramBytes: machine.spec.ramBytes,
  };
}
