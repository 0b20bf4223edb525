/**
 * All replicated disks as one: they start together or not at all, end together, and are known to be
 * equal before they protect anything.
 */
import { VmError, asVmError } from '../base/errors.js';
import type { PrimaryDisk, Replicated, SecondaryDisk } from '../block/contract/replicated.js';
import type { Link } from '../migration/link.js';
import { PIECE_BYTES } from '../migration/messages.js';
import type { DiskSync } from './disk-sync.js';
import type { Message } from './messages.js';
import type { ColoOptions } from './options.js';
import { within } from '../migration/wait.js';
import type { ColoPorts } from './contract.js';
import { trace } from './trace.js';

export async function startAll(
  disks: readonly Replicated[],
  mode: 'primary' | 'secondary',
): Promise<void> {
  trace.start_block_replication?.({ mode, disks: disks.length });
  for (const [at, disk] of disks.entries()) {
    try {
      await disk.start();
    } catch (thrown) {
      for (const started of disks.slice(0, at)) await started.stop(false).catch(() => undefined);
      throw asVmError(thrown).during(`disk '${disk.name}' cannot be replicated`);
    }
  }
}

/** How long may it take? In words what is waited for. */
export type EndWait = (what: string, ended: Promise<void>) => Promise<void>;

/** Side by side, and on over failures: all of them are returned as one. */
export async function stopAll(
  disks: readonly Replicated[],
  failover: boolean,
  wait: EndWait,
  stopped: () => void = () => undefined,
): Promise<VmError | undefined> {
  trace.stop_block_replication?.({ reason: failover ? 'failover' : 'shutdown' });
  const failures: VmError[] = [];
  const stop = async (disk: Replicated) => {
    try {
      await wait(`disk '${disk.name}'`, disk.stop(failover));
      stopped();
    } catch (thrown) {
      failures.push(asVmError(thrown).during(`disk '${disk.name}'`));
    }
  };
  await Promise.all(disks.map(stop));
  if (failures.length < 2) return failures[0];
  return new VmError(failures.map(f => f.message).join('; '), { cause: failures[0] });
}

/** stopAll, each disk within its time. */
export function endReplication(
  disks: readonly Replicated[],
  failover: boolean,
  { clock, options }: Pick<ColoPorts, 'clock' | 'options'>,
): Promise<VmError | undefined> {
  const wait = (_what: string, stopped: Promise<void>) =>
    within(clock, options.diskTimeoutMs, 'ending replication', stopped);
  return stopAll(disks, failover, wait);
}

/** Grows as the replicas get on: a slow link makes an epoch longer, it does not end it. */
export const replicationProgress = (disks: readonly Replicated[]): number =>
  disks.reduce((sum, { progress }) => sum + progress, 0);

/** Bytes that the replicas have yet to be given. */
export const behindOf = (disks: readonly PrimaryDisk[]): number =>
  disks.reduce((sum, { behindBytes }) => sum + behindBytes, 0);

/** A stored error ends COLO: the replica can never catch up with this disk. */
export function storedError(disks: readonly Replicated[]): VmError | undefined {
  for (const disk of disks) {
    const error = disk.error();
    if (error) return asVmError(error).during(`disk '${disk.name}'`);
  }
  return undefined;
}

/** Secondary: answers one digest-request. */
export function sendDigest(
  disks: readonly SecondaryDisk[],
  name: string,
  link: Link<Message>,
  options: ColoOptions,
  sync: DiskSync,
): Promise<void> {
  return sendAnswer(disks, name, link, options, disk =>
    disk.sync.digest((done, total) => sync.progress('digest', disk, done, total)),
  );
}

/** Secondary: what the primary compares its own disk with. */
export async function sendAnswer(
  disks: readonly SecondaryDisk[],
  name: string,
  link: Link<Message>,
  options: ColoOptions,
  read: (disk: SecondaryDisk) => Promise<Buffer>,
): Promise<void> {
  const disk = disks.find(d => d.name === name);
  if (!disk) throw new VmError(`there is no replicated disk '${name}' here`);
  if (disk.sync.assumed)
    return link.send({ type: 'digest-size', disk: name, vouched: true, size: 0 });
  const what = `digest of disk '${name}'`;
  const digest = await link.guard(read(disk), what, options.syncTimeoutMs);
  await link.send({ type: 'digest-size', disk: name, vouched: false, size: digest.length });
  for (let at = 0; at < digest.length; at += PIECE_BYTES)
    await link.send({ type: 'digest', bytes: digest.subarray(at, at + PIECE_BYTES) });
}
