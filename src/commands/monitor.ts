/** `colo monitor ADDRESS`: the human monitor as a line editor, over QMP. */
import { Flags } from '@oclif/core';
import { addressArg, ClientCommand, timeoutFlag } from './client.js';
import { runScript } from './script.js';

export class Monitor extends ClientCommand {
  static override readonly summary = 'talk to a running VM: the human monitor';
  static override readonly description =
    'Line editing, history of earlier sessions, completion by Tab, grey hints (Right takes ' +
    'one), Ctrl-R searches; `watch COMMAND` shows its output again and again; a paste runs ' +
    'line by line; events are shown as they happen. The server may be a stock QEMU. History ' +
    'is in ~/.local/state/colo/history (XDG_STATE_HOME), without lines that begin with a ' +
    'blank or name a secret. Ctrl-D leaves, the VM goes on; `quit` ends the VM. With ' +
    '--script, or when standard input is no terminal: the lines of a script, up to the first ' +
    'that fails; its number is on standard error and the exit code is 1. Empty lines and ' +
    'lines that begin with # are skipped.';
  static override readonly examples = [
    '<%= config.bin %> monitor unix:/run/vm.qmp',
    'echo "info colo" | <%= config.bin %> monitor tcp:localhost:4444',
    '<%= config.bin %> monitor pvm --script protect.hmp --echo',
  ];
  static override readonly args = { address: addressArg };
  static override readonly flags = {
    timeout: timeoutFlag,
    script: Flags.string({
      helpValue: 'FILE',
      description: 'run the lines of FILE; - is standard input',
    }),
    echo: Flags.boolean({ description: 'print each line of a script before its output' }),
    'keep-going': Flags.boolean({
      description: 'go on after a line that failed; the exit code is 1 all the same',
    }),
  };

  async run(): Promise<void> {
    const { args, flags } = await this.parse(Monitor);
    await this.withClient(args.address, flags.timeout * 1000, async client => {
      const { RemoteShell } = await import('./remote-shell.js');
      const shell = await RemoteShell.over(client, flags.timeout * 1000);
      const {
        script = process.stdin.isTTY && process.stdout.isTTY ? undefined : '-',
        echo,
        'keep-going': keepGoing,
      } = flags;
      if (script === undefined)
        return (await import('./interactive.js')).interactive(client, shell, args.address);
      await runScript(script, { echo, keepGoing }, line => shell.run(line));
    });
  }
}
