/** The guest of a VM of this process, for who decides when it may run. */
import type { Vm } from '../../vm/vm.js';
import type { Guest } from './join.js';

export function guestOf({ machine, colo }: Pick<Vm, 'machine' | 'colo'>): Guest {
  const { incoming, startPaused } = machine.spec;
  return {
    get waits() {
      return machine.lifecycle.pristine && incoming === undefined && !startPaused;
    },
    get held() {
      return colo.heldBack;
    },
    start: async () => {
      await colo.firstRun?.admit();
      await machine.startGuest();
    },
    askPeer: (uri, ms) => colo.askPeer(uri, ms),
  };
}
