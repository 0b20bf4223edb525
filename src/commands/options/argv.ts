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

/** refused: options that QEMU has and colo does not, with what to do instead. */
export function parseArgv(
  argv: readonly string[],
  declared: readonly OptionSyntax[],
  refused: Readonly<Record<string, string>>,
): GivenOption[] {
  const byName = new Map(
    declared.flatMap(d => [d.name, ...(d.aliases ?? [])].map(name => [name, d] as const)),
  );
  const given: GivenOption[] = [];
  for (let i = 0; i < argv.length; i++) {
    const word = argv[i];
    if (!/^--?[^-]/.test(word))
      throw new UsageError(`'${word}' is not an option`, {
        hint:
          'Every option begins with a dash; a disk is -drive ' +
          'if=virtio,file.filename=PATH,driver=raw.',
      });
    const name = word.replace(/^--?/, '');
    const found = byName.get(name);
    if (!found) throw unknown(word, name, argv[i + 1], byName.keys(), refused);
    if (!found.repeatable && given.some(g => g.name === found.name))
      throw new UsageError(`-${found.name} is given twice`);
    if (found.value === undefined) given.push({ name: found.name, spelled: word, value: '' });
    else {
      const value = argv[++i];
      if (value === undefined)
        throw new UsageError(`${word} needs a value: ${word} ${found.value}`);
      given.push({ name: found.name, spelled: `${word} ${value}`, value });
    }
  }
  return given;
}

function unknown(
  word: string,
  name: string,
  next: string | undefined,
  known: Iterable<string>,
  refused: Readonly<Record<string, string>>,
): UsageError {
  if (!Object.hasOwn(refused, name))
    return new UsageError(`unknown option ${word}.${didYouMean(name, known).replace("'", "'-")}`, {
      hint: 'All options: --help',
    });
  const shown = next === undefined || next.startsWith('-') ? word : `${word} ${next}`;
  return new UsageError(`${shown}: colo does not have this option`, { hint: refused[name] });
}
