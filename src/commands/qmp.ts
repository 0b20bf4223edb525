/** `colo qmp ADDRESS COMMAND [JSON]`: one QMP command, its result as JSON. */
import { Args, Flags } from '@oclif/core';
import { asVmError } from '../base/errors.js';
import { isObject } from '../monitor/types.js';
import type { Json } from '../monitor/qmp/json.js';
import { parseJson, printJson } from '../monitor/qmp/json.js';
import { addressArg, ClientCommand, timeoutFlag } from './client.js';
import { UsageError } from './options/argv.js';

export class Qmp extends ClientCommand {
  static override readonly summary = 'run one QMP command and print its result as JSON';
  static override readonly description = 'Works with any QMP server: colo or QEMU. Exit code 1 when the command fails.';
  static override readonly examples = [
    '<%= config.bin %> qmp unix:/run/vm.qmp query-status',
    `<%= config.bin %> qmp unix:/run/vm.qmp migrate '{"uri": "tcp:10.0.0.2:8888"}'`,
    '<%= config.bin %> qmp tcp:localhost:4444 nbd-server-add --arg device=disk0 --arg writable=true',
  ];
  static override readonly enableJsonFlag = true;
  static override readonly args = {
    address: addressArg,
    command: Args.string({ required: true, description: 'name of the command' }),
    arguments: Args.string({ description: 'its arguments: a JSON object' }),
  };
  static override readonly flags = {
    arg: Flags.string({ multiple: true, helpValue: 'NAME=VALUE', description: 'one argument; VALUE is JSON if it parses, else text' }),
    timeout: timeoutFlag,
  };

  async run(): Promise<unknown> {
    const { args, flags } = await this.parse(Qmp);
    const given = commandArguments(args.arguments, flags.arg ?? []);
    const result = await this.withClient(args.address, flags.timeout * 1000, client => client.execute(args.command, given, flags.timeout * 1000));
    process.stdout.write(`${printJson(result)}\n`);
    return undefined;
  }

  override logJson(json: unknown): void {
    if (json !== undefined) process.stdout.write(`${printJson(json)}\n`);
  }
}

export function commandArguments(text: string | undefined, pairs: readonly string[]): Record<string, unknown> | undefined {
  if (text === undefined && pairs.length === 0) return undefined;
  if (text !== undefined && pairs.length > 0) throw new UsageError('give the arguments as JSON or with --arg, not both');
  if (text === undefined) return Object.fromEntries(pairs.map(pair => argument(pair)));
  try {
    const value = parseJson(Buffer.from(text));
    if (isObject(value)) return value;
  } catch (error) {
    throw new UsageError(`the arguments are not JSON: ${asVmError(error).message}`);
  }
  throw new UsageError('the arguments are not a JSON object');
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
