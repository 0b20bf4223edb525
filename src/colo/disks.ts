/** All replicated disks as one: they start together or not at all, end together, and are known to be equal before they protect anything. */
import { VmError, asVmError } from '../base/errors.js';
import type { Replicated } from '../block/contract.js';
import type { Clock } from '../host/ports.js';
import type { Link } from '../migration/link.js';
import { pieceBytes } from '../migration/messages.js';
import { within } from '../migration/wait.js';
import type { DiskSync } from './disk-sync.js';
import type { Message } from './messages.js';
import type { ColoOptions } from './options.js';
import { trace } from './trace.js';

export async function startAll(disks: readonly Replicated[], mode: 'primary' | 'secondary'): Promise<void> {
  trace('start_block_replication', { mode, disks: disks.length });
  for (const [at, disk] of disks.entries()) {
    try {
      await disk.start(mode);
    } catch (thrown) {
      for (const started of disks.slice(0, at)) await started.stop(false).catch(() => undefined);
      throw asVmError(thrown).during(`disk '${disk.name}' cannot be replicated`);
    }
  }
}

/** Goes on over failures; the first is returned. Each disk has ms. */
export async function stopAll(disks: readonly Replicated[], failover: boolean, clock: Clock, ms: number, stopped: () => void = () => undefined): Promise<VmError | undefined> {
  trace('stop_block_replication', { reason: failover ? 'failover' : 'shutdown' });
  let first: VmError | undefined;
  for (const disk of disks) {
    try {
      await within(clock, ms, 'ending replication', disk.stop(failover));
      stopped();
    } catch (thrown) {
      first ??= asVmError(thrown).during(`disk '${disk.name}'`);
    }
  }
  return first;
}

/** Grows as the replicas get on: a slow link makes an epoch longer, it does not end it. */
export const progressOf = (disks: readonly Replicated[]): number => disks.reduce((sum, { progress }) => sum + progress, 0);

/** A stored error ends COLO: the replica can never catch up with this disk. */
export function storedError(disks: readonly Replicated[]): VmError | undefined {
  for (const disk of disks) {
    const error = disk.error();
    if (error) return asVmError(error).during(`disk '${disk.name}'`);
  }
  return undefined;
}

/** Secondary: answers one digest-request. */
export async function sendDigest(
  disks: readonly Replicated[],
  name: string,
  link: Link<Message>,
  options: ColoOptions,
  sync: DiskSync,
): Promise<void> {
  const disk = disks.find(d => d.name === name);
  if (!disk) throw new VmError(`there is no replicated disk '${name}' here`);
  if (disk.sync.assumed) return link.send({ type: 'digest-size', disk: name, vouched: true, size: 0 });
  const reading = disk.sync.digest(done => sync.progress('digest', disk, done));
  const digest = await link.guard(reading, `digest of disk '${name}'`, options.syncTimeoutMs);
  await link.send({ type: 'digest-size', disk: name, vouched: false, size: digest.length });
  for (let at = 0; at < digest.length; at += pieceBytes) await link.send({ type: 'digest', bytes: digest.subarray(at, at + pieceBytes) });
}
