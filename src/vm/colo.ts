/** COLO of a VM: the parts that it drives, and what they ask of it. */
import type { BlockLayer } from '../block/layer/layer.js';
import type { PairArbiter } from '../colo/contract.js';
import { ColoController } from '../colo/controller.js';
import { PairIdentity } from '../colo/identity.js';
import type { CredentialStore } from '../host/credentials.js';
import type { Machine } from '../machine/machine.js';
import { migrationSockets, type MigrationTls } from '../migration/security.js';
import { diskObstacle } from './disk-obstacle.js';
import type { VmHost } from './host.js';
import { comesByItself } from './incoming.js';
import type { Network } from './network.js';

export interface ColoContext {
  readonly machine: Machine;
  readonly block: BlockLayer;
  readonly network: Network;
  readonly arbiter: PairArbiter | undefined;
  readonly credentials: CredentialStore;
  /** Live. */
  readonly tls: MigrationTls;
  /** The pair stands in another way than before. */
  pairChanged(): void;
}

export function coloOf(
  { machine, block, network, arbiter, credentials, tls, pairChanged }: ColoContext,
  host: VmHost,
): ColoController {
  // Of what -incoming listens on, the command line has said it.
  const { incoming } = machine.spec;
  const warned = incoming !== undefined && comesByItself(incoming);
  const colo = new ColoController({
    clock: host.clock,
    entropy: host.entropy,
    transports: {
      sockets: migrationSockets(host, credentials, tls, warned),
      files: host.files,
      shell: host.shell,
    },
    lifecycle: machine.lifecycle,
    events: machine.events,
    options: { ...host.limits.colo },
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
    outputHolds: () => network.netdevs.map(netdev => netdev.outputHold),
    dropExports: async () => {
      if (block.nbd.address) await block.nbd.stop();
    },
    ...(arbiter && { arbiter }),
    // The reason is set later in this turn of the main loop, so the event waits for its end.
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
