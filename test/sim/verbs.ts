/** What a user does at a monitor while the pair lives: each verb as the monitor carries it out. */
import { VmError } from '../../src/base/errors.js';
import { startMirror } from '../../src/block/jobs/start.js';
import { Mirror } from '../../src/net/filter/mirror.js';
import type { CharBackend } from '../../src/chardev/contract.js';
import type { History } from './history.js';
import type { Verb } from './misfortunes.js';
import { diskBytes } from './model.js';
import { stepOf } from './program.js';
import type { Vm } from './vm.js';

/** A user who stopped the guest lets it go on after so long. */
const userStopMs = 120;

/** A refusal is an answer; anything else that is thrown is a fault. */
export async function useVerb(vm: Vm, verb: Verb): Promise<void> {
  const { world } = vm.node;
  if (vm.node.dead) return;
  world.note(vm.name, `user: ${verb}`);
  try {
    await carryOut(vm, verb);
  } catch (error) {
    if (error instanceof VmError) world.note(vm.name, `${verb} refused: ${error.message}`);
    else world.fail(`${vm.name}: ${verb}: ${(error as Error).stack}`);
  }
}

async function carryOut(vm: Vm, verb: Verb): Promise<void> {
  const { block, lifecycle, colo, node } = vm;
  switch (verb) {
    case 'stop':
      await lifecycle.stop();
      node.world.after(userStopMs, () => keepTrying(vm));
      return;
    case 'reset':
      return lifecycle.reset(false, 'host-qmp-system-reset');
    case 'powerdown':
      return lifecycle.powerdown();
    case 'announce':
      lifecycle.checkAnnounceable();
      return vm.announce();
    case 'checkpoint':
      return colo.requestCheckpoint();
    case 'plug-filter':
      return plugFilter(vm);
    case 'mirror':
      return mirror(vm);
    case 'take-out-replica':
      await block.blockdevChange({ parent: 'colo-disk0', child: 'children.1' });
      return;
    case 'stop-nbd':
      return block.nbd.stop();
    case 'quit':
      return vm.quit();
  }
}

/** `cont` until it is accepted: during a checkpoint it is refused, and the user types it again. */
export function keepTrying(vm: Vm, times = 40): void {
  const { node, lifecycle } = vm;
  if (times === 0) return;
  node.deliver('input', () => {
    lifecycle.cont().catch((error: unknown) => {
      if (!(error instanceof VmError)) return node.world.fail(String(error));
      if (lifecycle.state === 'colo') node.world.after(3, () => keepTrying(vm, times - 1));
    });
  });
}

/** A filter that lets everything pass comes, and goes again. */
function plugFilter(vm: Vm): void {
  const { filters } = vm.netdevs[0];
  const filter = new Mirror(
    'user',
    'all',
    charTo(() => undefined),
  );
  filter.attach(filters.insert(filter, 'tail'));
  vm.node.world.after(50, () => vm.node.deliver('input', () => filters.remove(filter)));
}

/** blockdev-mirror of the first disk, completed when it is ready. */
async function mirror(vm: Vm): Promise<void> {
  const { block, storage, node } = vm;
  // A second one must not spoil the disk that the first has moved the guest to.
  if (!storage.inodes.has('/target')) storage.put('/target', Buffer.alloc(diskBytes));
  const file = { driver: 'file', filename: '/target' };
  await block.blockdevAdd({ driver: 'raw', 'node-name': 'target', file });
  const job = await startMirror(block.ground, {
    device: vm.driveId(0),
    sync: 'full',
    target: 'target',
  });
  vm.events.on('BLOCK_JOB_READY', () => {
    node.clock.timer(node.world.random.between(0, 60), () => {
      try {
        job.complete();
      } catch (error) {
        node.world.note(vm.name, `block-job-complete refused: ${(error as Error).message}`);
      }
    });
  });
}

/** The filter's copies leave for another machine. */
export function copyTo(vm: Vm, history: History): void {
  const chr = charTo(frame => {
    if (!vm.node.dead) history.copy(vm.name, stepOf(frame)!);
  });
  const filter = new Mirror('copies', 'rx', chr);
  filter.attach(vm.netdevs[0].filters.insert(filter, 'tail'));
}

/** A channel that takes everything: each frame behind its length. */
function charTo(taken: (frame: Uint8Array) => void): CharBackend {
  const face: Partial<CharBackend> = {
    connected: true,
    write: bytes => {
      taken(bytes.subarray(4));
      return true;
    },
  };
  return face as CharBackend;
}
