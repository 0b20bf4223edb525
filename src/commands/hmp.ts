/** `colo hmp ADDRESS LINE...`: lines of the human monitor, over QMP. */
import { VmError } from '../base/errors.js';
import { wordsInOrder } from './base.js';
import { addressArg, ClientCommand, timeoutFlag } from './client.js';
import { runLine } from './remote-line.js';
import { UsageError } from './options/argv.js';

export class Hmp extends ClientCommand {
  static override readonly summary = 'run lines of the human monitor';
  static override readonly description =
    'Each LINE is one command; `migrate` without -d waits for its end. Works with any QMP ' +
    'server: colo or QEMU. Exit code 1 when a line fails.';
  static override readonly examples = [
    '<%= config.bin %> hmp unix:/run/vm.qmp "info status"',
    '<%= config.bin %> hmp unix:/run/vm.qmp stop "info status" cont',
  ];
  static override readonly usage = 'hmp ADDRESS LINE... [--timeout SECONDS] [--json]';
  static override readonly enableJsonFlag = true;
  static override readonly strict = false;
  static override readonly args = { address: addressArg };
  static override readonly flags = { timeout: timeoutFlag };

  async run(): Promise<{ line: string; output: string }[]> {
    const parsed = await this.parse(Hmp);
    const { args, flags } = parsed;
    const lines = wordsInOrder(parsed).slice(1);
    if (lines.length === 0)
      throw new UsageError('a LINE is missing', {
        hint: `Example: colo hmp ${args.address} "info status"`,
      });
    return this.withClient(args.address, flags.timeout * 1000, async client => {
      const results: { line: string; output: string }[] = [];
      for (const line of lines) {
        const timeoutMs = flags.timeout * 1000;
        const output = await runLine(client, timeoutMs, () => client.hmp(line, timeoutMs));
        if (looksFailed(output))
          throw new VmError(`${line}: ${output.trim().replace(/^Error: /, '')}`);
        if (!this.jsonEnabled()) process.stdout.write(output);
        results.push({ line, output });
      }
      return results;
    });
  }
}

/** HMP has no status: its mistakes are text of a known form. */
export function looksFailed(output: string): boolean {
  return /^(Error: |unknown command: )|^Try "help /m.test(output);
}
