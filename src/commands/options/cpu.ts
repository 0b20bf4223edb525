/**
 * `-cpu MODEL[,+flag][,-flag][,flag[=on|off]]`. Which models and flags there are is the accel's to
 * say (src/accel/cpu-model.ts).
 */
import type { CpuChoice } from '../../accel/cpu-model.js';
import { cpuModels } from '../../accel/cpu-model.js';
import { featureOf, features } from '../../accel/cpu-features.js';
import { VmError } from '../../base/errors.js';
import { needSwitch } from '../../words/scalars.js';
import { splitCommas } from '../../words/key-values.js';
import { asksForHelp, listOf } from '../../words/named.js';

const flagColumns = 100;

/** `-cpu help`: models and flags. undefined: no help was asked for. */
export function cpuHelp(text: string): string | undefined {
  if (!asksForHelp(text)) return undefined;
  const lines = [''];
  for (const { name } of features) {
    if (lines.at(-1)!.length + name.length >= flagColumns) lines.push('');
    lines.push(`${lines.pop()} ${name}`);
  }
  return [
    listOf('Available CPUs:', cpuModels),
    '',
    'Recognized CPUID flags:',
    ...lines.map(line => ` ${line}`),
  ].join('\n');
}

export function parseCpu(text: string): CpuChoice {
  const [model, ...words] = splitCommas(text);
  if (!Object.hasOwn(cpuModels, model))
    throw new VmError(
      `'${model}' is not a CPU model of colo; it has ${Object.keys(cpuModels).join(', ')}`,
    );
  const flags = words.map(parseFlag);
  for (const { name } of flags) {
    const feature = featureOf(name);
    if (typeof feature === 'string') throw new VmError(feature);
  }
  return { model, flags };
}

function parseFlag(word: string): CpuChoice['flags'][number] {
  if (word.startsWith('+')) return { name: word.slice(1), on: true };
  if (word.startsWith('-')) return { name: word.slice(1), on: false };
  const [name, value = 'on'] = word.split('=');
  return { name, on: needSwitch(value, `'${name}'`) };
}
