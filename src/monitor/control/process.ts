/** The VM among other VMs. */
import type { ProcessControl } from '../vm.js';
import type { Vm } from '../../vm/vm.js';

export function processControl({
  machine,
  colo,
  host,
}: Pick<Vm, 'machine' | 'colo' | 'host'>): ProcessControl {
  const startedMs = host.clock.nowMs();
  return {
    pid: host.process.pid,
    get ageMs() {
      return Math.round(host.clock.nowMs() - startedMs);
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
    logInto: path => host.process.logInto(path),
  };
}
