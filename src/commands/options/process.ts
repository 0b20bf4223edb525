/**
 * Small options of QEMU's that are about the machine as a whole: -boot, -msg, -machine, -mon,
 * -trace.
 */
import { readFileSync } from 'node:fs';
import { VmError } from '../../base/errors.js';
import { KeyValues, parseKeyValues } from '../../words/key-values.js';
import { didYouMean } from '../../base/similar.js';
import { systemError } from '../../host/node/errors.js';
import type { MonitorSpec } from '../../machine/spec.js';
import { asksForHelp, listOf } from '../../words/named.js';
import { takeNothing } from '../../words/nothing.js';
import { ofMessages, ofTheBoot, ofTheMachine } from './nothing.js';

/** The first disk is where QEMU would look; with -kernel it does not look either. */
export function bootOrder(text: string): void {
  const options = new KeyValues(parseKeyValues(text, 'order'));
  takeNothing(options, ofTheBoot);
  options.done(Object.keys(ofTheBoot).join(', '));
}

/** -msg: gives whether lines shall have the time of day. */
export function messageTimes(text: string): boolean {
  const options = new KeyValues(parseKeyValues(text));
  const times = options.takeBool('timestamp') ?? false;
  takeNothing(options, ofMessages);
  options.done('timestamp, guest-name=off');
  return times;
}

/** One machine; older names of it are taken, too. */
const machines: Readonly<Record<string, string>> = {
  pc: 'PC with an i440FX and a PIIX3, PCI and virtio: the default, and the only one',
  'pc-i440fx-VERSION': 'another name of pc',
};

export const machineHelp = (text: string) =>
  asksForHelp(text) ? listOf('Supported machines are:', machines) : undefined;

/** Gives the accelerator, if it names one. */
export function parseMachine(text: string): string | undefined {
  const options = new KeyValues(parseKeyValues(text, 'type'));
  const type = options.take('type');
  if (type !== undefined && !/^pc(-i440fx-[0-9]+\.[0-9]+)?$/.test(type))
    throw new VmError(`'${type}' is not a machine of colo; it has pc.${didYouMean(type, ['pc'])}`, {
      hint: 'pc-i440fx-2.3 and its like are names for the same machine.',
    });
  const accel = options.take('accel');
  takeNothing(options, ofTheMachine);
  options.done('type, accel');
  return accel;
}

export function parseMon(text: string): MonitorSpec {
  const options = new KeyValues(parseKeyValues(text, 'chardev'));
  const chardev = options.need('chardev');
  const mode = options.take('mode') ?? 'readline';
  options.done('chardev, mode');
  if (mode !== 'readline' && mode !== 'control')
    throw new VmError(`'mode' is readline or control, not '${mode}'`);
  return { mode: mode === 'control' ? 'qmp' : 'hmp', chardev };
}

/** `[enable=]PATTERN`, `events=FILE`. */
export function tracePatterns(text: string): string[] {
  const options = new KeyValues(parseKeyValues(text, 'enable'));
  const pattern = options.take('enable');
  const file = options.take('events');
  if (options.has('file'))
    throw new VmError("'file' is not supported: trace events go where the log goes", {
      hint: 'Name a file with -D.',
    });
  options.done('enable, events');
  const patterns = [
    ...(pattern === undefined ? [] : [pattern]),
    ...(file === undefined ? [] : linesOf(file)),
  ];
  if (patterns.some(one => one === '')) throw new VmError("a pattern is missing: 'colo*'");
  return patterns;
}

/** One pattern a line; # begins a comment. */
function linesOf(path: string): string[] {
  try {
    return readFileSync(path, 'utf8')
      .split('\n')
      .map(line => line.replace(/#.*/, '').trim())
      .filter(line => line !== '');
  } catch (error) {
    throw systemError(`Could not read '${path}'`, error);
  }
}
