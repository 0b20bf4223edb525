/** Each option of a command line by itself: whether it is taken. */
import { asVmError } from '../../base/errors.js';
import {
  type GivenOption,
  HelpAsked,
  isRefused,
  readArgv,
  type RefusedOption,
  UsageError,
} from './argv.js';
import { Draft, type Role } from './draft.js';
import { optionTable, refusedOptions } from './table.js';

const options = new Map(optionTable.map(option => [option.name, option]));

/** A launch does not tell of it: the command reads it before. */
export const isReadBefore = ({ name }: GivenOption): boolean =>
  options.get(name)?.readBefore ?? false;

export const readOptions = (argv: readonly string[]): (GivenOption | RefusedOption)[] =>
  readArgv(argv, optionTable, refusedOptions);

/** judged: those of argv, in order. base: as parseLaunch takes it. */
export function judge(
  role: Role,
  argv: readonly string[],
  base: readonly GivenOption[] = [],
): { draft: Draft; judged: (GivenOption | RefusedOption)[] } {
  const draft = new Draft(role);
  const read = readOptions(argv);
  const replaced = new Set(
    read
      .flatMap(one => (isRefused(one) ? [] : one.name))
      .filter(name => !options.get(name)?.repeatable),
  );
  const own = new Map<GivenOption | RefusedOption, GivenOption | RefusedOption>();
  const all = [...base.filter(({ name }) => !replaced.has(name)), ...read];
  for (const early of [true, false])
    for (const one of all)
      if (isRefused(one)) own.set(one, one);
      else if ((options.get(one.name)?.early ?? false) === early) own.set(one, taken(draft, one));
  const ofBase = base.map(one => own.get(one)).filter(one => one && isRefused(one));
  return {
    draft,
    judged: [...ofBase, ...read.map(one => own.get(one))].filter(one => one !== undefined),
  };
}

function taken(draft: Draft, given: GivenOption): GivenOption | RefusedOption {
  draft.given.add(given.name);
  try {
    asUsage(given, () => options.get(given.name)?.take(draft, given.value, given));
    return given;
  } catch (error) {
    if (error instanceof UsageError) return { spelled: given.spelled, refusal: error };
    throw error;
  }
}

/** A mistake is one of usage, with the option in front. */
export function asUsage<T>(option: GivenOption, take: () => T): T {
  try {
    return take();
  } catch (error) {
    if (error instanceof UsageError || error instanceof HelpAsked) throw error;
    const { message, options } = asVmError(error);
    throw new UsageError(`${option.spelled}: ${message}`, { hint: options.hint, cause: error });
  }
}
