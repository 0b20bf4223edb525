/**
 * What the secondary takes from the wire: RAM before the first checkpoint, then one epoch at a
 * time. Untrusted, all of it.
 */
import { VmError } from '../base/errors.js';
import type { SecondaryDisk } from '../block/contract/replicated.js';
import type { PairRecord } from '../block/record/pair-record.js';
import { type Link, unexpected } from '../migration/link.js';
import { receiveState } from '../migration/messages.js';
import { Rounds } from '../migration/rounds.js';
import type { ColoPorts, StagedDevices } from './contract.js';
import type { DiskSync } from './disk-sync.js';
import { replicationProgress, sendDigest } from './disks.js';
import { answerMarks } from './intents.js';
import type { EpochInfo, Message } from './messages.js';
import { copyMs } from './options.js';
import { StagedEpoch } from './staged-epoch.js';

/** Of RAM before the first checkpoint: a primary stops long before (`precopyRounds`). */
const ROUNDS_MAX = 64;

/** An epoch that may be loaded. */
export interface WholeEpoch {
  info: EpochInfo;
  ram: StagedEpoch;
  devices: StagedDevices;
}

/** What the primary says of the pair that is being made. */
export interface Agreed {
  /** The branch that both sides will be on. */
  record: PairRecord | undefined;
  /** Where the bitmaps of both count from; undefined: they do not. */
  point: string | undefined;
}

export interface ArrivalContext {
  readonly ports: ColoPorts;
  readonly link: Link<Message>;
  readonly disks: readonly SecondaryDisk[];
  /** The primary may be silent for so much longer than usual. */
  excuse(ms: number): void;
}

/**
 * Pages go straight to RAM: there is no earlier state that they could spoil, and no failover before
 * the first epoch. Gives what both sides will have in common.
 */
export async function takePrecopy(
  { ports, link, disks }: ArrivalContext,
  sync: DiskSync,
): Promise<Agreed> {
  const { lifecycle, migration, options } = ports;
  const rounds = new Rounds(lifecycle.ram, migration, ROUNDS_MAX);
  const agreed: Agreed = { record: undefined, point: undefined };
  for (;;) {
    const message = await link.next('waiting for RAM');
    if (rounds.hear(message)) continue;
    switch (message.type) {
      case 'digest-request':
        await sendDigest(disks, message.disk, link, options, sync);
        sync.done();
        break;
      case 'marks':
        await answerMarks(disks, message, link, options, sync);
        sync.done();
        break;
      case 'common-point':
        agreed.point = message.id.toString('hex');
        break;
      case 'record':
        agreed.record = message.record;
        break;
      case 'precopy-end':
        if (!rounds.whole) throw unexpected(message.type, 'all of RAM');
        return agreed;
      default:
        throw unexpected(message.type, 'RAM');
    }
  }
}

/**
 * undefined: the primary gave it up. Nothing of the machine is touched. previous: the last epoch
 * that was loaded.
 */
export async function takeEpoch(
  context: ArrivalContext,
  previous: number,
): Promise<WholeEpoch | undefined> {
  const { ports, link, disks } = context;
  const { lifecycle, options } = ports;
  // The primary gives up what its replica does not answer in time; then its word is on its way.
  const ms = options.replyTimeoutMs + options.diskTimeoutMs;
  if (!(await takeStart(context, ms))) return undefined;
  const ram = new StagedEpoch(lifecycle.ram);
  let info: EpochInfo | undefined;
  while (!info) {
    const message = await link.next('waiting for pages', ms, () => replicationProgress(disks));
    if (message.type === 'abort-epoch') return undefined;
    if (message.type === 'pages') ram.add(message.body);
    else if (message.type === 'packed-pages') ram.addPacked(message.body);
    else if (message.type === 'epoch') info = message;
    else throw unexpected(message.type, 'pages or epoch');
  }
  const { size } = await link.expect('vmstate-size', ms);
  const blob = await receiveState(size, options, () => link.expect('blob', ms));
  await link.guard(ram.check(info, previous, disks), 'the count of writes', options.diskTimeoutMs);
  const devices = lifecycle.parseDevices(blob);
  ports.step('secondary-checked');
  return { info, ram, devices };
}

/**
 * False: the primary gave the epoch up. It stops its guest first, and can say nothing while it
 * copies.
 */
async function takeStart(
  { ports, link, disks, excuse }: ArrivalContext,
  ms: number,
): Promise<boolean> {
  const { lifecycle, options } = ports;
  const next = (longerMs: number) =>
    link.next('waiting for vmstate-send', ms + longerMs, () => replicationProgress(disks));
  let message = await next(0);
  if (message.type === 'copying') {
    const { pageCount } = lifecycle.ram;
    if (message.pages > pageCount)
      throw new VmError(`a copy of ${message.pages} pages, this machine has ${pageCount}`);
    const longerMs = copyMs(message.pages, options);
    excuse(longerMs);
    message = await next(longerMs);
    excuse(0);
  }
  if (message.type === 'abort-epoch') return false;
  if (message.type !== 'vmstate-send') throw unexpected(message.type, 'vmstate-send');
  return true;
}
