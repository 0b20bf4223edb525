/** The secondary's answer to `hello`. */
import { type Link, unexpected } from '../migration/link.js';
import type { DiskStanding } from '../migration/standing.js';
import type { ColoPorts } from './contract.js';
import type { Message } from './messages.js';
import { Refusal } from './session.js';

export interface Acceptance {
  /** What its images know. */
  disks: DiskStanding[];
  /** The pages of checkpoints may be packed. */
  takesPacked: boolean;
}

/** VmError: it refused, or it runs the guest itself. */
export async function accepted(
  link: Link<Message>,
  { identity, options }: Pick<ColoPorts, 'identity' | 'options'>,
): Promise<Acceptance> {
  const next = () => link.next('waiting for accept', options.replyTimeoutMs);
  let message = await next();
  const takesPacked = message.type === 'takes-packed';
  if (takesPacked) message = await next();
  if (message.type === 'accept') return { disks: message.disks ?? [], takesPacked };
  if (message.type !== 'superseded') throw unexpected(message.type, 'accept');
  throw new Refusal((await identity.heardOf(message.record)).message);
}
