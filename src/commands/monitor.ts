/** `colo monitor ADDRESS`: the human monitor as a line editor, over QMP. */
import { Flags } from '@oclif/core';
import type { QmpClient } from '../monitor/qmp/client.js';
import type { Completions } from '../monitor/hmp/completion.js';
import { eventLine } from '../monitor/hmp/event-line.js';
import { Repl } from '../monitor/hmp/repl.js';
import { asVmError } from '../base/errors.js';
import { isObject } from '../monitor/types.js';
import { failoverGuard } from './ask.js';
import { addressArg, ClientCommand, timeoutFlag } from './client.js';
import { runScript } from './script.js';

export class Monitor extends ClientCommand {
  static override readonly summary = 'talk to a running VM: the human monitor';
  static override readonly description = 'Line editing, history, completion by Tab; events are shown as they happen. Ctrl-D leaves, the VM goes on; `quit` ends the VM. With --script, or when standard input is no terminal: the lines of a script, up to the first that fails; its number is on standard error and the exit code is 1. Empty lines and lines that begin with # are skipped.';
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
      const session = { client, timeoutMs: flags.timeout * 1000 };
      const { script = process.stdin.isTTY && process.stdout.isTTY ? undefined : '-', echo, 'keep-going': keepGoing } = flags;
      if (script === undefined) return interactive(session, args.address);
      await runScript(script, { echo, keepGoing }, line => runLine(session, line));
    });
  }
}

interface Session {
  readonly client: QmpClient;
  readonly timeoutMs: number;
}

async function runLine({ client, timeoutMs }: Session, line: string): Promise<string> {
  if (line.trim() === '') return '';
  try {
    return await client.hmp(line, timeoutMs);
  } catch (error) {
    return `Error: ${asVmError(error).message}\n`;
  }
}

function interactive(session: Session, address: string): Promise<void> {
  const words = remoteWords(session);
  const objection = failoverGuard(session.client, session.timeoutMs);
  return new Promise(resolve => {
    const repl = new Repl({
      input: process.stdin,
      output: process.stdout,
      prompt: '(colo) ',
      banner: `connected to ${address} - type 'help' for more information, Ctrl-D to leave`,
      run: async line => (await objection(line)) ?? runLine(session, line),
      complete: async line => completeRemotely(line, await words()),
      left: () => {
        process.stdout.write("\nleft the monitor: the VM goes on ('quit' would have ended it)\n");
        resolve();
      },
    });
    session.client.onEvent(({ event, data }) => repl.print(eventLine(event, isObject(data) ? data : {})));
    session.client.onEnd(() => {
      repl.print('the connection has ended\n');
      repl.close();
      resolve();
    });
  });
}

/** Command names as the server's own help lists them: the server may be of another version, or QEMU. */
function remoteWords(session: Session): () => Promise<string[]> {
  let known: Promise<string[]> | undefined;
  const ask = async () => {
    const text = `${await session.client.hmp('help', session.timeoutMs)}${await session.client.hmp('info', session.timeoutMs)}`;
    return text.split('\n').flatMap(line => namesOf(line));
  };
  return () => (known ??= ask());
}

/** `stop|s -- text` gives stop and s; `info status -- text` gives `info status`. */
export function namesOf(line: string): string[] {
  const match = /^(info )?([a-zA-Z?][\w?|.-]*)/.exec(line);
  if (!match || !line.includes('--')) return [];
  return match[2].split('|').map(name => `${match[1] ?? ''}${name}`);
}

export function completeRemotely(line: string, names: readonly string[]): Completions {
  const text = line.trimStart().replace(/^(?:help|\?) +/, '');
  const word = /[^ ]*$/.exec(text)?.[0] ?? '';
  const candidates = names.filter(name => name.startsWith(text)).map(name => name.slice(text.length - word.length).split(' ')[0]);
  return { candidates: [...new Set(candidates)].sort(), word };
}
