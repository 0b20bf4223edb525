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
import { answerHelp, type VmOption } from './option.js';

const FLAG_COLUMNS = 100;

export const cpuOption: VmOption = {
  name: 'cpu',
  value: 'MODEL[,+FLAG][,-FLAG]',
  summary:
    'soft-v1 (default), soft-v2, qemu64, host, max; flags by the names of QEMU; the same on ' +
    'both sides of a pair; -cpu help lists both',
  take(draft, value) {
    answerHelp(asksForHelp(value) ? modelsAndFlags() : undefined);
    draft.spec.cpu = parseCpu(value);
  },
};

function modelsAndFlags(): string {
  const lines = [''];
  for (const { name } of features) {
    if (lines.at(-1)!.length + name.length >= FLAG_COLUMNS) lines.push('');
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
