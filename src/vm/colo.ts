/** COLO of a VM: the parts that it drives, and what they ask of it. */
import type { BlockLayer } from '../block/layer/layer.js';
import { Colo } from '../colo/colo.js';
import { PairIdentity } from '../colo/identity.js';
import { defaultColoOptions } from '../colo/options.js';
import type { Machine } from '../machine/machine.js';
import { diskObstacle } from './disk-obstacle.js';
import type { VmHost } from './host.js';
import type { Network } from './network.js';

export interface ColoGround {
  readonly machine: Machine;
  readonly block: BlockLayer;
  readonly network: Network;
  /** The pair stands in another way than before. */
  pairChanged(): void;
}

export function coloOf({ machine, block, network, pairChanged }: ColoGround, host: VmHost): Colo {
  const colo = new Colo({
    clock: host.clock,
    transports: host,
    lifecycle: machine.lifecycle,
    events: machine.events,
    options: { ...defaultColoOptions },
    xColo: machine.spec.role === 'secondary',
    disks: {
      primary: () => block.primaryDisks(),
      secondary: () => block.secondaryDisks(),
    },
    flushDisks: () => block.flush(),
    images: block.images,
    diskObstacle: (how, live) => diskObstacle(block.queryNamedBlockNodes(), how, live),
    identity: new PairIdentity({ entropy: host.entropy, images: () => block.pairImages() }),
    startGuest: () => machine.startGuest(),
    outputs: () => network.netdevs.map(netdev => netdev.output),
    dropExports: async () => {
      if (block.nbd.address) await block.nbd.stop();
    },
    // Why it stands so is known when this turn of the main loop is over.
    pairChanged: () => void host.clock.timer(0, pairChanged),
    report: line => host.note(line),
    step: host.step,
  });
  machine.lifecycle.shutdownGate = () => colo.guestShutdown();
  machine.lifecycle.startGate = () => colo.admitGuest();
  machine.lifecycle.takeImages = () => colo.takeImages();
  machine.onRunState(state => state === 'internal-error' && colo.guestFailed());
  return colo;
}
