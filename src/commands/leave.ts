/** `colo leave ADDRESS`: x-colo-leave, and the end of the secondary. */
import { VmError } from '../base/errors.js';
import { addressArg, ClientCommand, timeoutFlag } from './client.js';
import { type VmLine, vmLine } from './survey.js';

export class Leave extends ClientCommand {
  static override readonly summary = 'end the secondary of a pair in order; the guest goes on';
  static override readonly description =
    'For a planned stop of the host that has no guest. The primary goes on alone, without a ' +
    'stop, and says why; an arbiter hears before that this side may not take over any more. ' +
    'Then the VM here ends, and a `colo run` that keeps it with it. Refused for the primary, ' +
    'whose guest is given away first (switchover), while the arbiter does not answer, and with ' +
    'an exec: arbiter, whose agent would switch this host off.';
  static override readonly examples = [
    '<%= config.bin %> leave web-secondary',
    '<%= config.bin %> leave web-secondary --json',
  ];
  static override readonly enableJsonFlag = true;
  static override readonly args = { address: addressArg };
  static override readonly flags = { timeout: timeoutFlag };

  async run(): Promise<VmLine> {
    const { args, flags } = await this.parse(Leave);
    const { address } = args;
    const timeoutMs = flags.timeout * 1000;
    return this.withClient(address, timeoutMs, async client => {
      const line = vmLine(address, await client.execute('query-vm', undefined, timeoutMs));
      if (line.role !== 'secondary')
        throw new VmError(`'${address}' is no secondary: it has the guest`, {
          hint: `Give the guest to the other side first: colo switchover ${address}`,
        });
      // One that waits for a primary has nothing to leave.
      if (line.pair !== 'waiting') await client.execute('x-colo-leave', undefined, timeoutMs);
      await client.execute('quit', undefined, timeoutMs);
      if (!this.jsonEnabled()) this.log(`${address} has left, and ends`);
      return line;
    });
  }
}
