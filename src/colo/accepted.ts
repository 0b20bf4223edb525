/** The secondary's answer to `hello`. */
import { type Link, unexpected } from '../migration/link.js';
import type { DiskStanding } from '../migration/standing.js';
import type { ColoPorts } from './contract.js';
import type { Message } from './messages.js';
import { Refusal } from './session.js';

/** What its images know. VmError: it refused, or it runs the guest itself. */
export async function accepted(
  link: Link<Message>,
  { identity, options }: Pick<ColoPorts, 'identity' | 'options'>,
): Promise<DiskStanding[]> {
  const message = await link.next('waiting for accept', options.replyTimeoutMs);
  if (message.type === 'accept') return message.disks ?? [];
  if (message.type !== 'superseded') throw unexpected(message.type, 'accept');
  throw new Refusal((await identity.heardOf(message.record)).message);
}
