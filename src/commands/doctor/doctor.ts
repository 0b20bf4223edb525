/** `colo doctor`: can one side of a pair run on this host? */
import { styleText } from 'node:util';
import { Flags } from '@oclif/core';
import { asVmError } from '../../base/errors.js';
import { parseSize } from '../../words/scalars.js';
import { parseAddress } from '../address.js';
import { BaseCommand } from '../base.js';
import { wantsColour } from '../output.js';
import { isVmName } from '../names.js';
import { UsageError } from '../options/argv.js';
import type { Finding } from './checks.js';

/** Of the examples: -incoming, and the NBD server. */
const usualPorts = [8888, 8889];
const colours = { ok: 'green', warn: 'yellow', fail: 'red' } as const;

export class Doctor extends BaseCommand {
  static override readonly summary = 'check this host for what a VM needs';
  static override readonly description =
    'Runs code on the CPU, makes a tap, looks for memory, limits, ports and the peer; each ' +
    'line that is not ok says what to do. Exit code 1 when something needed is missing.';
  static override readonly examples = [
    '<%= config.bin %> doctor',
    '<%= config.bin %> doctor --memory 4G --port 8888 --peer tcp:10.0.0.2:8888',
    '<%= config.bin %> doctor --json',
  ];
  static override readonly enableJsonFlag = true;
  static override readonly flags = {
    memory: Flags.string({
      default: '512M',
      helpValue: 'SIZE',
      description: 'RAM of the guest, as of -m',
    }),
    port: Flags.integer({
      multiple: true,
      min: 1,
      max: 65_535,
      helpValue: 'PORT',
      description: 'a TCP port that must be free; default: 8888 and 8889, which only should be',
    }),
    peer: Flags.string({
      helpValue: 'ADDRESS',
      description: 'tcp:HOST:PORT or unix:PATH where the other side listens',
    }),
  };

  async run(): Promise<Finding[]> {
    const { flags } = await this.parse(Doctor);
    const ramBytes = parseSize(flags.memory, 'M');
    if (ramBytes === undefined)
      throw new UsageError(`--memory ${flags.memory}: not a size`, {
        hint: 'Examples: 512 (MiB), 2048M, 2G.',
      });
    const { examineHost } = await import('./checks.js');
    const findings = await examineHost({
      ramBytes,
      ports: flags.port ?? usualPorts,
      portsAsked: flags.port !== undefined,
      peer: peer(flags.peer),
    });
    if (findings.some(f => f.result === 'fail')) process.exitCode = 1;
    if (!this.jsonEnabled()) process.stdout.write(findings.map(show).join(''));
    return findings;
  }
}

function peer(text: string | undefined) {
  if (text === undefined) return undefined;
  if (isVmName(text)) throw new UsageError(`--peer ${text}: not tcp:HOST:PORT or unix:PATH`);
  try {
    return parseAddress(text);
  } catch (error) {
    throw new UsageError(`--peer ${text}: not tcp:HOST:PORT or unix:PATH`, {
      cause: asVmError(error),
    });
  }
}

function show({ check, result, detail, advice }: Finding): string {
  const word = wantsColour(process.stdout, process.env)
    ? styleText(colours[result], result.padEnd(4))
    : result.padEnd(4);
  return (
    `${word}  ${check.padEnd(10)}  ` +
    `${detail}\n${advice === '' ? '' : `      ${''.padEnd(10)}  ${advice}\n`}`
  );
}
