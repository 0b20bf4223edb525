/**
 * What a command answers, each fact declared once: its name in QMP, its type, where it comes from,
 * and its row in HMP.
 */
import { type ArgsOf, type Fields, struct, type Type } from '../words/types.js';

/**
 * How HMP shows a fact: by a name before its value, or by lines of its own; undefined: not. all:
 * the other facts of the answer.
 */
type Row<T> =
  string | ((value: NonNullable<T>, all: Readonly<Record<string, unknown>>) => string | undefined);

export interface Fact<S, T, O extends boolean> {
  readonly type: Type<T, O>;
  readonly of: (source: S) => O extends true ? T | undefined : T;
  readonly row?: Row<T>;
}

type Facts<S> = Readonly<
  Record<string, { type: Type; of: (source: S) => unknown; row?: Row<never> }>
>;
type TypesOf<F> = { [K in keyof F]: F[K] extends { readonly type: infer T } ? T : never };

export interface Answer<S, R> {
  readonly type: Type<R, false>;
  /** For QMP; a fact that is not known is left out. */
  readonly from: (source: S) => R;
  /** For HMP: a row for each fact that has one. */
  readonly show: (answer: R) => string;
}

export interface Answers<S> {
  fact<T, O extends boolean>(
    type: Type<T, O>,
    of: Fact<S, T, O>['of'],
    row?: Row<T>,
  ): Fact<S, T, O>;
  /** name: of the type in query-qmp-schema. rows: their order, where it is another than here. */
  answer<F extends Facts<S>>(
    name: string,
    facts: F,
    rows?: readonly (keyof F & string)[],
  ): Answer<S, ArgsOf<TypesOf<F>>>;
}

/** S: what its facts are taken from. */
export const answersOf = <S>(): Answers<S> => ({
  fact: (type, of, row) => ({ type, of, row }),
  answer: (name, facts, rows = Object.keys(facts)) => {
    const entries = Object.entries(facts);
    const types = Object.fromEntries(entries.map(([key, { type }]) => [key, type])) as Fields;
    return {
      type: struct(name, types) as never,
      from: source => {
        const all = entries.map(([key, { of }]) => [key, of(source)] as const);
        return Object.fromEntries(all.filter(([, value]) => value !== undefined)) as never;
      },
      show: shown => rows.flatMap(key => lines(key, facts[key].row, shown)).join('\n'),
    };
  },
});

function lines(
  key: string,
  row: Row<never> | undefined,
  all: Readonly<Record<string, unknown>>,
): string[] {
  const value = all[key];
  if (row === undefined || value === undefined) return [];
  if (typeof row === 'string') return [`${row}: ${value as string | number}`];
  const line = row(value as never, all);
  return line === undefined ? [] : [line];
}
