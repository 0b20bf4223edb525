/**
 * oclif's flags and arguments, declared without loading oclif: its declarations are plain data, and
 * what is typed is its own types. For the commands that start without it (tool.ts).
 */
import type { Args as OclifArgs, Flags as OclifFlags } from '@oclif/core';

type Options = Record<string, unknown>;
type Parse = (input: string, context: never, options: never) => Promise<unknown>;

const asIs: Parse = async input => input;
/** What is no number, or out of range, is put in oclif's words. */
const asInteger: Parse = async (input, context, options) => {
  const { Flags } = await import('@oclif/core');
  return Flags.integer().parse(input, context, options);
};
const option =
  (parse: Parse) =>
  (options: Options = {}) => ({ parse, multiple: false, ...options, input: [], type: 'option' });
const boolean = (options: Options = {}) => ({
  parse: async (b: boolean) => b,
  ...options,
  allowNo: options['allowNo'] === true,
  type: 'boolean',
});

export const Flags = {
  string: option(asIs),
  integer: (options: Options = {}) => ({ ...option(asInteger)(options), integer: true }),
  boolean,
} as unknown as Pick<typeof OclifFlags, 'string' | 'integer' | 'boolean'>;
export const Args = {
  string: (options: Options = {}) => ({
    parse: asIs,
    ignoreStdin: true,
    ...options,
    input: [],
    type: 'option',
  }),
} as unknown as Pick<typeof OclifArgs, 'string'>;
