/**
 * One question before a guest's first instruction: does the peer run it? Asked on a connection of
 * its own, for a peer that has taken over exports no disks any more and takes no primary.
 */
import type { PairRecord } from '../block/record/pair-record.js';
import type { Clock, Stream } from '../host/ports.js';
import { Link } from '../migration/link.js';
import { codecOf, type Message } from './messages.js';

export type PeerAnswer =
  /** It runs the guest. */
  | { kind: 'runs'; record: PairRecord | undefined }
  /** It waits for a primary, or follows one. */
  | { kind: 'follows' };

/** VmError: no answer, or none that is understood. The connection is closed afterwards. */
export async function askPeer(stream: Stream, clock: Clock, ms: number): Promise<PeerAnswer> {
  const link = new Link<Message>(stream, clock, codecOf('primary'));
  try {
    await link.send({ type: 'who-runs' });
    const answer = await link.next('waiting for an answer', ms);
    return answer.type === 'superseded'
      ? { kind: 'runs', record: answer.record }
      : { kind: 'follows' };
  } finally {
    link.destroy();
  }
}
