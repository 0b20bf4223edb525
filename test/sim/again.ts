/**
 * A process ends and is started again with the same options, from what its host has kept; and a
 * primary that went on alone is protected again by a secondary that came back.
 */
import { VmError } from '../../src/base/errors.js';
import type { Misfortune } from './misfortunes.js';
import type { Pair } from './pair.js';
import { ports } from './command-line.js';
import type { SimVm } from './vm.js';

const askMs = 100;

export function restart(pair: Pair, m: Extract<Misfortune, { kind: 'restart' }>): void {
  pair.sideOf(m).node.crash(m.clean);
  pair.world.after(m.afterMs, () => {
    const old = pair.sideOf(m);
    pair.bootAgain(old).then(
      vm => noted(vm, startAgain(vm)),
      (error: unknown) => refused(old, error),
    );
  });
}

/** As a service manager does it, with --config: who may not run waits. */
async function startAgain(vm: SimVm): Promise<void> {
  if (vm.role === 'secondary') {
    await vm.listenForPrimary();
    return;
  }
  await vm.colo.askPeer(`tcp:secondary:${ports.migration}`, askMs);
  await vm.start().catch((error: unknown) => refused(vm, error));
  await vm.protect();
}

/** True: it is on its way to be protected. The replica that it had is of no use any more. */
export function protectAgain({ primary, secondary }: Pair): boolean {
  const free = secondary.bornAgain && secondary.listening && secondary.colo.info().state === 'none';
  if (primary.node.dead || secondary.node.dead || !free) return false;
  if (primary.colo.info().state !== 'completed' || !primary.running) return false;
  noted(primary, replaceReplicas(primary));
  return true;
}

async function replaceReplicas(vm: SimVm): Promise<void> {
  for (const n of vm.images.keys()) {
    await vm.user.hmp(`x_blockdev_change -d colo-disk${n} children.1`).catch(ignoreRefusal);
    await vm.user.hmp(`drive_del replica${n}`).catch(ignoreRefusal);
  }
  await vm.protect();
}

function ignoreRefusal(error: unknown): void {
  if (!(error instanceof VmError)) throw error;
}

/** Whoever gave that order reads why it was refused. */
export function noted(vm: SimVm, done: Promise<void>): void {
  done.catch((error: unknown) => refused(vm, error));
}

function refused(vm: SimVm, error: unknown): void {
  const { world } = vm.node;
  if (error instanceof VmError) world.note(vm.name, `refused: ${error.message}`);
  else world.fail(`${vm.name}: ${(error as Error).stack}`);
}
