/**
 * A primary that is told to go on alone says so first. Where no answer can come, or an arbiter
 * has given the order and will not give it to the secondary too, the order stands alone; a silent
 * secondary is waited for as long as its own takeover would wait. One that closes without an answer
 * may have taken over just then.
 */
import { VmError } from '../base/errors.js';
import type { Link } from '../migration/link.js';
import { sleep } from '../migration/wait.js';
import type { ColoPorts } from './contract.js';
import { leaseEndMs } from './fence.js';
import type { Message } from './messages.js';

/**
 * noted: settles when the secondary has answered. decided: by an arbiter. Gives the problem, if
 * there is one.
 */
export function peerHeard(
  link: Link<Message>,
  { clock, options }: Pick<ColoPorts, 'clock' | 'options'>,
  noted: Promise<void>,
  decided: boolean,
): Promise<VmError | undefined> {
  if (!link.listening) return Promise.resolve(undefined);
  link.post({ type: 'going-alone' });
  if (decided) return Promise.resolve(undefined);
  const waitMs = Math.max(options.stopTimeoutMs, leaseEndMs(options));
  const settled = Promise.race([noted, sleep(clock, waitMs)]).then(() => undefined);
  const gone = link
    .gone()
    .then(
      () =>
        new VmError(
          'the secondary closed the connection without an answer, and may have taken over',
          { hint: 'x_colo_lost_heartbeat again if it is surely dead' },
        ),
    );
  return Promise.race([settled, gone]);
}

/**
 * Its guest is well and its peer is there: the secondary's disk, or the way to it, is what fails.
 * Where an arbiter decides, this side does without it, and it must not bid.
 */
export function dropsPeer(
  { failed }: Link<Message>,
  { arbiter, lifecycle }: Pick<ColoPorts, 'arbiter' | 'lifecycle'>,
): boolean {
  return arbiter !== undefined && !failed && lifecycle.failure === undefined;
}
