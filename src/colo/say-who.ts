/** What a secondary tells a primary that was started again, and must not run beside it. */
import { VmError } from '../base/errors.js';
import type { Link } from '../migration/link.js';
import type { PairIdentity } from './identity.js';
import type { Message } from './messages.js';

interface Asked {
  /** This side has taken over. */
  readonly taken: boolean;
  readonly link: Link<Message>;
  readonly identity: PairIdentity;
}

/** Always a VmError: the conversation is over. */
export async function sayTaken({ link, identity }: Asked): Promise<never> {
  await link.send({ type: 'superseded', record: identity.record });
  await link.farewell();
  throw new VmError('this secondary has taken over');
}

/** The answer to `who-runs`. Always a VmError: nothing more is asked. */
export async function sayWho(asked: Asked): Promise<never> {
  if (asked.taken) return sayTaken(asked);
  await asked.link.send({ type: 'follows' });
  await asked.link.farewell();
  throw new VmError('nothing more was asked');
}
