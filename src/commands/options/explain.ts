/**
 * `--explain`: what colo makes of a command line, option by option, and the line that would run.
 */
import { asVmError, type VmError } from '../../base/errors.js';
import { type GivenOption, isRefused } from './argv.js';
import { judge } from './judge.js';
import { parseLaunch, type Role } from './spec.js';

export interface Explained {
  readonly option: string;
  /** anyway: so it is without it. */
  readonly verdict: 'taken' | 'anyway' | 'refused';
  readonly why?: string;
  readonly hint?: string;
}

export interface Explanation {
  readonly options: Explained[];
  /** Of the options that change something; the words behind `colo`. */
  readonly line?: readonly string[];
  /** Why that line does not run either. */
  readonly missing?: { readonly why: string; readonly hint?: string };
}

/** Of the explanation itself. */
const OWN = ['explain', 'json'];

/** HelpAsked: an option that asks for help. */
export function explain(
  role: Role,
  argv: readonly string[],
  base: readonly GivenOption[] = [],
): Explanation {
  const judged = judge(role, argv, base).judged.filter(
    one => isRefused(one) || !OWN.includes(one.name),
  );
  const options = judged.map((one): Explained => {
    if (isRefused(one)) return { option: one.spelled, verdict: 'refused', ...reason(one.refusal) };
    return { option: one.spelled, verdict: one.changes ? 'taken' : 'anyway' };
  });
  const kept = judged.flatMap(one => (isRefused(one) || !one.changes ? [] : [one]));
  const words = kept.flatMap(({ name, spelled, value }) => [
    `-${name}`,
    ...(spelled.includes(' ') ? [value] : []),
  ]);
  try {
    parseLaunch(role, words, base);
    return { options, line: [role, ...words] };
  } catch (error) {
    return { options, missing: reason(asVmError(error)) };
  }
}

const reason = ({ message, options }: VmError) => ({ why: message, hint: options.hint });

/** For people: an option a line, why below it. */
export function explanationText({ options, line, missing }: Explanation): string {
  const rows = options.flatMap(({ option, verdict, why, hint }) => [
    `${verdict.padEnd(8)} ${option}`,
    ...below(why?.startsWith(`${option}: `) === true ? why.slice(option.length + 2) : why),
    ...below(hint),
  ]);
  const end = line
    ? ['It would run:', `  colo ${line.map(shellWord).join(' ')}`]
    : [
        'Without what is refused it would not run:',
        ...below(missing?.why),
        ...below(missing?.hint),
      ];
  return [...rows, '', ...end].join('\n');
}

const below = (text: string | undefined): string[] =>
  text === undefined ? [] : text.split('\n').map(line => `${' '.repeat(9)}${line}`);

/** As POSIX shells read it. */
const shellWord = (word: string): string =>
  /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
