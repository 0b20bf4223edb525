/** QEMU's command line: options with one dash or two, a value always in the next word. */
import { VmError } from '../../base/errors.js';
import { didYouMean } from '../../base/similar.js';

export interface OptionSyntax {
  /** Without the dash. */
  readonly name: string;
  readonly aliases?: readonly string[];
  /** What the value is called in help; undefined: the option has none. */
  readonly value?: string;
  readonly repeatable?: boolean;
  readonly summary: string;
}

export interface GivenOption {
  /** Its declared name. */
  readonly name: string;
  /** As it was written, for messages. */
  readonly spelled: string;
  readonly value: string;
}

/** A mistake on the command line: exit code 2. */
export class UsageError extends VmError {}

/** `-object help`: the answer, instead of a VM. */
export class HelpAsked extends Error {}

/** An option of the line that cannot be had. */
export interface RefusedOption {
  readonly spelled: string;
  readonly refusal: UsageError;
}

export const isRefused = (read: GivenOption | RefusedOption): read is RefusedOption =>
  'refusal' in read;

/**
 * In order, each by itself. refused: options that QEMU has and colo does not, with what to do
 * instead.
 */
export function readArgv(
  argv: readonly string[],
  declared: readonly OptionSyntax[],
  refused: Readonly<Record<string, string>>,
): (GivenOption | RefusedOption)[] {
  const byName = new Map(
    declared.flatMap(d => [d.name, ...(d.aliases ?? [])].map(name => [name, d] as const)),
  );
  const seen = new Set<string>();
  const read: (GivenOption | RefusedOption)[] = [];
  const words = [...argv];
  // Of an option that nobody knows, too, a word without a dash is the value.
  const valueOf = () => (words.length > 0 && !/^-./.test(words[0]) ? words.shift() : undefined);
  for (let word = words.shift(); word !== undefined; word = words.shift()) {
    const found = /^--?[^-]/.test(word) ? byName.get(word.replace(/^--?/, '')) : undefined;
    const value = found ? found.value !== undefined && words.shift() : valueOf();
    const spelled = typeof value === 'string' ? `${word} ${value}` : word;
    if (!found) read.push({ spelled, refusal: unknown(word, spelled, byName.keys(), refused) });
    else if (value === undefined) {
      const refusal = new UsageError(`${word} needs a value: ${word} ${found.value}`);
      read.push({ spelled, refusal });
    } else if (!found.repeatable && seen.has(found.name))
      read.push({ spelled, refusal: new UsageError(`-${found.name} is given twice`) });
    else read.push({ name: found.name, spelled, value: value === false ? '' : value });
    if (found) seen.add(found.name);
  }
  return read;
}

/** UsageError: the first that cannot be had. */
export function parseArgv(
  argv: readonly string[],
  declared: readonly OptionSyntax[],
  refused: Readonly<Record<string, string>>,
): GivenOption[] {
  return readArgv(argv, declared, refused).map(read => {
    if (isRefused(read)) throw read.refusal;
    return read;
  });
}

/** One sentence for all of them. */
export function refusedTogether(all: readonly RefusedOption[]): UsageError {
  const [{ refusal: first }] = all;
  if (all.length === 1) return first;
  const lines = all.flatMap(({ refusal: { message, options } }) => [
    `  ${message}`,
    ...(options.hint === undefined ? [] : [`    ${options.hint}`]),
  ]);
  return new UsageError([`${all.length} options cannot be had:`, ...lines].join('\n'), {
    hint: 'What the others do: the same line with --explain.',
  });
}

function unknown(
  word: string,
  spelled: string,
  known: Iterable<string>,
  refused: Readonly<Record<string, string>>,
): UsageError {
  if (!/^--?[^-]/.test(word))
    return new UsageError(`'${word}' is not an option`, {
      hint:
        'Every option begins with a dash; a disk is -drive ' +
        'if=virtio,file.filename=PATH,driver=raw.',
    });
  const name = word.replace(/^--?/, '');
  if (!Object.hasOwn(refused, name))
    return new UsageError(`unknown option ${word}.${didYouMean(name, known).replace("'", "'-")}`, {
      hint: 'All options: --help',
    });
  return new UsageError(`${spelled}: colo does not have this option`, { hint: refused[name] });
}
