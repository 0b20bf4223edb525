/** `colo protect ADDRESS --config FILE`: a running primary gets its secondary, at last or again. */
import { Flags } from '@oclif/core';
import { VmError } from '../base/errors.js';
import { isObject } from '../words/types.js';
import { addressArg, ClientCommand, timeoutFlag } from './client.js';
import { insecureFlag } from './insecure.js';
import { vmLine } from './survey.js';

export class Protect extends ClientCommand {
  static override readonly summary = 'give a running guest its secondary, at first or again';
  static override readonly description =
    'What `colo primary --config` does by itself when it starts: attaches the replicas of the ' +
    'disks and enters COLO. For a secondary that came too late, or in place of one that was ' +
    'lost; and for a side that has taken over, when the other one is back: start that with ' +
    '`colo secondary --config FILE --side a`. Which side the VM is on its name tells. Progress ' +
    'is on standard error.';
  static override readonly examples = [
    '<%= config.bin %> protect web-primary --config web.yaml',
    '<%= config.bin %> protect web-primary --config web.yaml --wait 0 --json',
  ];
  static override readonly enableJsonFlag = true;
  static override readonly args = { address: addressArg };
  static override readonly flags = {
    config: Flags.string({
      required: true,
      helpValue: 'FILE',
      description: 'the pair definition that the VM was started with, colo-pair(5)',
    }),
    wait: Flags.integer({
      min: 0,
      helpValue: 'SECONDS',
      description: 'how long the secondary may take to be there; default: `wait` of the definition',
    }),
    insecure: insecureFlag,
    timeout: timeoutFlag,
  };

  async run(): Promise<unknown> {
    const { args, flags } = await this.parse(Protect);
    const [{ readPairFile }, { protect }, { DEFAULT_WAIT_SECONDS }, { definitionFor, sideNamed }] =
      await Promise.all([
        import('./pair/read.js'),
        import('./pair/protect.js'),
        import('./pair/schema.js'),
        import('./pair/side.js'),
      ]);
    const file = readPairFile(flags.config, flags.insecure);
    return this.withClient(args.address, flags.timeout * 1000, async client => {
      const execute = (command: string, given?: Record<string, unknown>) =>
        client.execute(command, given, flags.timeout * 1000);
      const vm = await execute('query-vm');
      if (!isObject(vm) || vm['role'] !== 'alone')
        throw new VmError(
          `'${args.address}' is ${vmLine(args.address, vm).role} of a pair already`,
          { hint: `Look at it with: colo status ${args.address}` },
        );
      const side = sideNamed(file.pair, String(vm['name'])) ?? 'a';
      const { pair } = definitionFor(file, 'primary', side);
      const waitMs = (flags.wait ?? pair.peer.wait ?? DEFAULT_WAIT_SECONDS) * 1000;
      await protect({ execute }, pair, {
        note: line => this.note(line),
        signal: new AbortController().signal,
        waitMs,
      });
      return vmLine(args.address, await execute('query-vm'));
    });
  }
}
