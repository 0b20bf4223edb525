/** `colo monitor ADDRESS`: the human monitor as a line editor, over QMP. */
import { Flags } from '@oclif/core';
import type { QmpClient } from '../monitor/qmp/client.js';
import { eventLine } from '../monitor/hmp/event-line.js';
import { LineMonitor, prompt } from '../monitor/hmp/lines.js';
import { Repl } from '../monitor/hmp/repl.js';
import { isObject } from '../monitor/types.js';
import { addressArg, ClientCommand, timeoutFlag } from './client.js';
import { RemoteShell } from './remote-shell.js';
import { runScript } from './script.js';
import { processStdio, processTerminal } from './terminal.js';
import { processTypist } from './typist.js';

export class Monitor extends ClientCommand {
  static override readonly summary = 'talk to a running VM: the human monitor';
  static override readonly description = 'Line editing, history of earlier sessions, completion by Tab, grey hints (Right takes one), Ctrl-R searches; `watch COMMAND` shows its output again and again; a paste runs line by line; events are shown as they happen. The server may be a stock QEMU. History is in ~/.local/state/colo/history (XDG_STATE_HOME), without lines that begin with a blank or name a secret. Ctrl-D leaves, the VM goes on; `quit` ends the VM. With --script, or when standard input is no terminal: the lines of a script, up to the first that fails; its number is on standard error and the exit code is 1. Empty lines and lines that begin with # are skipped.';
  static override readonly examples = ['<%= config.bin %> monitor unix:/run/vm.qmp', 'echo "info colo" | <%= config.bin %> monitor tcp:localhost:4444', '<%= config.bin %> monitor pvm --script protect.hmp --echo'];
  static override readonly args = { address: addressArg };
  static override readonly flags = {
    timeout: timeoutFlag,
    script: Flags.string({ helpValue: 'FILE', description: 'run the lines of FILE; - is standard input' }),
    echo: Flags.boolean({ description: 'print each line of a script before its output' }),
    'keep-going': Flags.boolean({ description: 'go on after a line that failed; the exit code is 1 all the same' }),
  };

  async run(): Promise<void> {
    const { args, flags } = await this.parse(Monitor);
    await this.withClient(args.address, flags.timeout * 1000, async client => {
      const shell = await RemoteShell.over(client, flags.timeout * 1000);
      const { script = process.stdin.isTTY && process.stdout.isTTY ? undefined : '-', echo, 'keep-going': keepGoing } = flags;
      if (script === undefined) return interactive(client, shell, args.address);
      await runScript(script, { echo, keepGoing }, line => shell.run(line));
    });
  }
}

/** With a line editor; on a terminal that cannot move its cursor line by line, as that edits them. */
function interactive(client: QmpClient, shell: RemoteShell, address: string): Promise<void> {
  const terminal = processTerminal();
  const stdio = processStdio();
  const local = !address.startsWith('tcp:');
  return new Promise(resolve => {
    const leave = (text: string) => {
      stdio.setMode('cooked');
      stdio.pause();
      process.stdout.write(text);
      resolve();
    };
    const banner = `connected to ${address} - type 'help' for more information, Ctrl-D to leave`;
    const left = "\nleft the monitor: the VM goes on ('quit' would have ended it)\n";
    if (terminal.dumb) return plainLines(client, shell, banner, leave, left);
    stdio.setMode('raw');
    const { clock, history, files } = processTypist();
    const repl = new Repl({
      terminal,
      write: text => void process.stdout.write(text.replace(/\r?\n/g, '\r\n')),
      prompt,
      banner,
      clock,
      history,
      run: line => shell.run(line, terminal),
      assist: line => shell.assist(line),
      // Of this host: the VM's own, unless it is elsewhere.
      files: prefix => (local ? files(prefix) : Promise.resolve([])),
      left: () => leave(left),
    });
    stdio.onData(bytes => repl.push(bytes));
    stdio.onEnd(() => repl.close());
    client.onEvent(({ event, data }) => repl.print(eventLine(event, isObject(data) ? data : {})));
    client.onEnd(() => {
      repl.print('the connection has ended\n');
      repl.close();
      leave('\n');
    });
  });
}

function plainLines(client: QmpClient, shell: RemoteShell, banner: string, leave: (text: string) => void, left: string): void {
  const stdio = processStdio();
  const lines = new LineMonitor(
    {
      send: text => void process.stdout.write(text),
      drained: () => Promise.resolve(),
      congested: on => (on ? stdio.pause() : stdio.resume()),
      finished: () => leave(left),
      run: line => shell.run(line),
    },
    banner,
  );
  stdio.onData(bytes => lines.push(bytes));
  stdio.onEnd(() => lines.endInput());
  client.onEvent(({ event, data }) => void process.stdout.write(`\n${eventLine(event, isObject(data) ? data : {})}${prompt}`));
  client.onEnd(() => {
    lines.close();
    leave('\nthe connection has ended\n');
  });
  lines.greet();
}
