/**
 * `--explain`: what colo makes of a command line, option by option, and the line that would run.
 */
import { isDeepStrictEqual } from 'node:util';
import { asVmError, type VmError } from '../../base/errors.js';
import { type GivenOption, isRefused } from './argv.js';
import { isReadBefore, judge } from './judge.js';
import { type Launch, parseLaunch, type Role } from './spec.js';

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
  const accepted = judged.flatMap(one => (isRefused(one) ? [] : one));
  const launch = (given: readonly GivenOption[]) => parseLaunch(role, given.flatMap(words), base);
  let [kept, missing] = [accepted, undefined as Explanation['missing']];
  try {
    kept = needed(accepted, launch);
  } catch (error) {
    missing = reason(asVmError(error));
  }
  const options = judged.map((one): Explained => {
    if (isRefused(one)) return { option: one.spelled, verdict: 'refused', ...reason(one.refusal) };
    return { option: one.spelled, verdict: kept.includes(one) ? 'taken' : 'anyway' };
  });
  return missing ? { options, missing } : { options, line: [role, ...kept.flatMap(words)] };
}

/** Without those that may be left out: what is launched is the same. VmError: it is nothing. */
function needed(
  accepted: readonly GivenOption[],
  launch: (given: readonly GivenOption[]) => Launch,
): GivenOption[] {
  const whole = launch(accepted);
  const same = (given: readonly GivenOption[]) => {
    try {
      return isDeepStrictEqual(launch(given), whole);
    } catch {
      return false;
    }
  };
  let kept = [...accepted];
  for (const one of accepted) {
    const without = kept.filter(other => other !== one);
    if (!isReadBefore(one) && same(without)) kept = without;
  }
  return kept;
}

const words = ({ name, spelled, value }: GivenOption): string[] =>
  spelled.includes(' ') ? [`-${name}`, value] : [`-${name}`];

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
