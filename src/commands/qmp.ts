/**
 * `colo qmp ADDRESS COMMAND [JSON]`: one QMP command, its result as JSON; and events that it waits
 * for.
 */
import { Args, Flags } from '@oclif/core';
import { readFileSync } from 'node:fs';
import { asVmError, VmError } from '../base/errors.js';
import { systemError } from '../host/node/errors.js';
import type { QmpClient, QmpEvent } from '../monitor/qmp/client.js';
import { isObject } from '../words/types.js';
import type { Json } from '../monitor/qmp/json.js';
import { parseJson, printJson } from '../monitor/qmp/json.js';
import { addressArg, ClientCommand, timeoutFlag } from './client.js';
import { UsageError } from './options/argv.js';

export class Qmp extends ClientCommand {
  static override readonly summary = 'run one QMP command and print its result as JSON';
  static override readonly description =
    'Works with any QMP server: colo or QEMU. Exit code 1 when the command fails, or an event ' +
    'does not come in time. The first line of output is the result, the next are the events.';
  static override readonly examples = [
    '<%= config.bin %> qmp unix:/run/vm.qmp query-status',
    `<%= config.bin %> qmp unix:/run/vm.qmp migrate '{"uri": "tcp:10.0.0.2:8888"}'`,
    '<%= config.bin %> qmp tcp:localhost:4444 nbd-server-add --arg device=disk0 --arg ' +
      'writable=true',
    '<%= config.bin %> qmp pvm blockdev-add --json @node.json',
    '<%= config.bin %> qmp pvm stop --wait-event STOP:5',
  ];
  static override readonly enableJsonFlag = true;
  static override readonly args = {
    address: addressArg,
    command: Args.string({
      ignoreStdin: true,
      description: 'name of the command; may be left out where there is an event to wait for',
    }),
    arguments: Args.string({
      ignoreStdin: true,
      description: 'its arguments: a JSON object, @FILE that holds one, or @- for standard input',
    }),
  };
  static override readonly flags = {
    arg: Flags.string({
      multiple: true,
      helpValue: 'NAME=VALUE',
      description: 'one argument; VALUE is JSON if it parses, else text',
    }),
    'wait-event': Flags.string({
      multiple: true,
      helpValue: 'NAME[:SECONDS]',
      description: 'then wait for an event and print it; one that comes during the command counts',
    }),
    timeout: timeoutFlag,
  };

  async run(): Promise<unknown> {
    const { args, flags } = await this.parse(Qmp);
    const given = commandArguments(args.arguments, flags.arg ?? []);
    const wanted = (flags['wait-event'] ?? []).map(text => wantedEvent(text, flags.timeout));
    const { command } = args;
    if (command === undefined && wanted.length === 0)
      throw new UsageError('a COMMAND is missing', {
        hint: `Example: colo qmp ${args.address} query-status`,
      });
    await this.withClient(args.address, flags.timeout * 1000, async client => {
      const taken = new Set<QmpEvent>();
      const events = wanted.map(event => expectEvent(client, event, taken));
      if (command !== undefined)
        process.stdout.write(
          `${printJson(await client.execute(command, given, flags.timeout * 1000))}\n`,
        );
      for (const event of events) process.stdout.write(`${printJson(await event.after())}\n`);
    });
    return undefined;
  }

  override logJson(json: unknown): void {
    if (json !== undefined) process.stdout.write(`${printJson(json)}\n`);
  }
}

export function commandArguments(
  text: string | undefined,
  pairs: readonly string[],
): Record<string, unknown> | undefined {
  if (text === undefined && pairs.length === 0) return undefined;
  if (text !== undefined && pairs.length > 0)
    throw new UsageError('give the arguments as JSON or with --arg, not both');
  if (text === undefined) return Object.fromEntries(pairs.map(pair => argument(pair)));
  const bytes = text.startsWith('@') ? fileBytes(text.slice(1)) : Buffer.from(text);
  try {
    const value = parseJson(bytes);
    if (isObject(value)) return value;
  } catch (error) {
    throw new UsageError(`the arguments are not JSON: ${asVmError(error).message}`);
  }
  throw new UsageError('the arguments are not a JSON object');
}

function fileBytes(path: string): Buffer {
  try {
    return readFileSync(path === '-' ? 0 : path);
  } catch (error) {
    throw systemError(`Could not read '${path}'`, error);
  }
}

interface WantedEvent {
  readonly name: string;
  readonly seconds: number;
}

export function wantedEvent(text: string, seconds: number): WantedEvent {
  const match = /^([A-Z0-9_]+)(?::([0-9]+(?:\.[0-9]+)?))?$/.exec(text);
  if (!match)
    throw new UsageError(`--wait-event ${text}: not NAME or NAME:SECONDS`, {
      hint: 'Names: colo qmp ADDRESS query-events.',
    });
  return { name: match[1], seconds: match[2] === undefined ? seconds : Number(match[2]) };
}

/**
 * Listens from now on; after() is called when the command is through, and waits from then.
 * taken: events that another one of the same name waited for.
 */
function expectEvent(
  client: QmpClient,
  { name, seconds }: WantedEvent,
  taken: Set<QmpEvent>,
): { after(): Promise<QmpEvent> } {
  let lost = false;
  let settle: () => void = () => undefined;
  let found: QmpEvent | undefined;
  client.onEvent(event => {
    if (event.event !== name || found || taken.has(event)) return;
    taken.add(event);
    found = event;
    settle();
  });
  client.onEnd(() => {
    lost = true;
    settle();
  });
  return {
    after: async () => {
      let timer: NodeJS.Timeout | undefined;
      if (!found && !lost)
        await new Promise<void>(resolve => {
          settle = resolve;
          timer = setTimeout(resolve, seconds * 1000);
        });
      clearTimeout(timer);
      if (found) return found;
      throw new VmError(
        lost ? `the connection ended before ${name} came` : `no ${name} within ${seconds} s`,
      );
    },
  };
}

function argument(pair: string): [string, Json] {
  const at = pair.indexOf('=');
  if (at <= 0) throw new UsageError(`--arg ${pair}: not NAME=VALUE`);
  const text = pair.slice(at + 1);
  try {
    return [pair.slice(0, at), parseJson(Buffer.from(text))];
  } catch {
    return [pair.slice(0, at), text];
  }
}
