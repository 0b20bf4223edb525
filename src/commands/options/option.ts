/**
 * The declaration of an option: its syntax for the command line, its summary for help, completion
 * and the manual, and what it does to a launch.
 */
import { fromWords } from '../../words/from-words.js';
import { parseItems, parseKeyValues } from '../../words/key-values.js';
import { asksForHelp, fieldsHelp } from '../../words/named.js';
import type { ArgsOf, Fields } from '../../words/types.js';
import { type GivenOption, HelpAsked, type OptionSyntax } from './argv.js';
import type { Draft } from './draft.js';

export interface VmOption extends OptionSyntax {
  /** It is taken before the others, which it changes. */
  readonly early?: boolean;
  /** The command reads it before any option is taken; a launch does not tell of it. */
  readonly readBefore?: boolean;
  /** What a shell offers for the value: declared kinds and keys. */
  readonly offers?: readonly string[];
  take(draft: Draft, value: string, given: GivenOption): void;
}

interface KeyedOption<F extends Fields> extends OptionSyntax {
  readonly keys: F;
  /** The key of a first item without `=`. */
  readonly implied?: string;
  /** A flat JSON object is taken, too. */
  readonly json?: boolean;
  /** `help` is a value as any other. */
  readonly helpIsValue?: boolean;
  take(draft: Draft, args: ArgsOf<F>, given: GivenOption): void;
}

/** An option whose value is a list of declared keys. */
export function keyedOption<F extends Fields>({
  keys,
  implied,
  json,
  helpIsValue,
  take,
  ...syntax
}: KeyedOption<F>): VmOption {
  const items = json ? parseItems : parseKeyValues;
  return {
    ...syntax,
    offers: keysOf(keys),
    take(draft, value, given) {
      if (!helpIsValue) answerHelp(asksForHelp(value) ? fieldsHelp(syntax.name, keys) : undefined);
      take(draft, fromWords(keys, items(value, implied)), given);
    },
  };
}

const keysOf = (fields: Fields): string[] => Object.keys(fields).map(key => `${key}=`);

/** `KIND`, and `KIND,KEY=`. */
export const kindOffers = (kinds: Readonly<Record<string, { fields: Fields }>>): string[] =>
  Object.entries(kinds).flatMap(([kind, { fields }]) => [
    kind,
    ...keysOf(fields).map(key => `${kind},${key}`),
  ]);

/** undefined: help was not asked for. */
export function answerHelp(text: string | undefined): void {
  if (text !== undefined) throw new HelpAsked(text);
}
