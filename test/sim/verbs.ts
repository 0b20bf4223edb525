/** What a user does at a monitor while the pair lives. */
import { VmError } from '../../src/base/errors.js';
import { ports } from './command-line.js';
import type { History } from './history.js';
import type { Verb } from './misfortunes.js';
import { diskBytes } from './model.js';
import { stepOf } from './program.js';
import type { SimNetwork } from '../support/sim/network.js';
import type { SimVm } from './vm.js';

/** A user who stopped the guest lets it go on after so long. */
const userStopMs = 120;
const filterMs = 50;

/** A refusal is an answer; anything else that is thrown is a fault. */
export async function useVerb(vm: SimVm, verb: Verb): Promise<void> {
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

async function carryOut(vm: SimVm, verb: Verb): Promise<void> {
  const { user, node } = vm;
  switch (verb) {
    case 'stop':
      await user.qmp('stop');
      node.world.after(userStopMs, () => keepTrying(vm));
      return;
    case 'reset':
      return void (await user.qmp('system_reset'));
    case 'powerdown':
      return void (await user.qmp('system_powerdown'));
    case 'announce':
      return void (await user.hmp('announce_self'));
    case 'checkpoint':
      // A comparison of output asks for it; the monitor has no word for it.
      return vm.colo.requestCheckpoint();
    case 'plug-filter':
      return plugFilter(vm);
    case 'mirror':
      return mirror(vm);
    case 'take-out-replica':
      return void (await user.hmp('x_blockdev_change -d colo-disk0 children.1'));
    case 'stop-nbd':
      return void (await user.hmp('nbd_server_stop'));
    case 'quit':
      return void (await user.hmp('quit'));
    case 'switchover':
      return void (await user.qmp('x-colo-switchover'));
    case 'leave':
      return void (await user.qmp('x-colo-leave'));
  }
}

/** `cont` until it is accepted: during a checkpoint it is refused, and the user types it again. */
export function keepTrying(vm: SimVm, times = 40): void {
  const { node, lifecycle } = vm;
  if (times === 0) return;
  node.deliver('input', () => {
    vm.user.qmp('cont').catch((error: unknown) => {
      if (!(error instanceof VmError)) return node.world.fail(String(error));
      if (lifecycle.state === 'colo') node.world.after(3, () => keepTrying(vm, times - 1));
    });
  });
}

/** A filter that lets everything pass comes, and goes again. */
async function plugFilter(vm: SimVm): Promise<void> {
  await vm.user.hmp('object_add filter-mirror,id=user,netdev=hn0,outdev=nowhere');
  vm.node.world.after(filterMs, () =>
    vm.node.deliver('input', () => void vm.user.hmp('object_del user')),
  );
}

/** blockdev-mirror of the first disk, completed when it is ready. */
async function mirror(vm: SimVm): Promise<void> {
  const { user, storage, node } = vm;
  // A second one must not spoil the disk that the first has moved the guest to.
  if (!storage.inodes.has('/target')) storage.put('/target', Buffer.alloc(diskBytes));
  const file = { driver: 'file', filename: '/target' };
  await user.qmp('blockdev-add', { driver: 'raw', 'node-name': 'target', file });
  const device = vm.driveId(0);
  await user.qmp('blockdev-mirror', { device, sync: 'full', target: 'target' });
  vm.events.on('BLOCK_JOB_READY', () => {
    node.clock.timer(node.world.random.between(0, 60), () => {
      user.qmp('block-job-complete', { device }).catch((error: unknown) => {
        node.world.note(vm.name, `block-job-complete refused: ${(error as Error).message}`);
      });
    });
  });
}

/** The copies of a filter-mirror leave for another host: each behind its length. */
export function watchCopies(network: SimNetwork, history: History): void {
  network.onWrite = ({ from, port }, bytes) => {
    if (port !== ports.copies) return;
    const all = Buffer.from(bytes);
    for (let at = 0; at < all.length; at += 4 + all.readUInt32BE(at))
      history.copy(from, stepOf(all.subarray(at + 4, at + 4 + all.readUInt32BE(at)))!);
  };
}
