/** A command line of `colo primary` or `colo secondary`, as a test says it. */
import { HelpAsked, UsageError } from '../../src/commands/options/argv.js';
import { parseLaunch, type Role } from '../../src/commands/options/spec.js';

export const words = (line: string) => line.trim().split(/\s+/);
export const launch = (role: Role, line: string) => parseLaunch(role, words(line)).spec;

/** The message and the hint of what is thrown. */
export function refusal(role: Role, argv: string | string[]): string {
  try {
    parseLaunch(role, typeof argv === 'string' ? words(argv) : argv);
  } catch (error) {
    expect(error).toBeInstanceOf(UsageError);
    const { message, options } = error as UsageError;
    return options.hint === undefined ? message : `${message} | ${options.hint}`;
  }
  throw new Error('nothing was refused');
}

export function help(line: string): string {
  try {
    parseLaunch('primary', words(line));
  } catch (error) {
    expect(error).toBeInstanceOf(HelpAsked);
    return (error as HelpAsked).message;
  }
  throw new Error('no help was given');
}
