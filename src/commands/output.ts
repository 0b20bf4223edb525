/** How every command speaks of what went wrong, and of lost readers. */
import { styleText } from 'node:util';
import { asVmError, type VmError } from '../base/errors.js';
import { printableLines } from '../base/printable.js';
import { UsageError } from './options/argv.js';

/** NO_COLOR (no-color.org), FORCE_COLOR, TERM=dumb; otherwise: is it a terminal. */
export function wantsColour(
  stream: { isTTY?: boolean },
  env: Readonly<Record<string, string | undefined>>,
): boolean {
  if ((env['NO_COLOR'] ?? '') !== '') return false;
  if (env['TERM'] === 'dumb') return false;
  return stream.isTTY === true;
}

/** Progress and messages: never on standard output. */
export function note(text: string): void {
  show(printableLines(text));
}

function show(line: string): void {
  if (process.stderr.isTTY && atPrompt(`${line}\n`)) return;
  // A terminal in raw mode (a monitor, a guest's console) does not go back to the first column.
  const raw = process.stderr.isTTY && process.stdin.isRaw;
  process.stderr.write(raw ? `${line}\n`.replaceAll('\n', '\r\n') : `${line}\n`);
}

/** What a monitor at the prompt of this terminal says by itself, in its own words. */
export function noteUnlessPrompt(line: string): void {
  if (!process.stderr.isTTY || !atPrompt('')) note(line);
}

let atPrompt: (line: string) => boolean = () => false;

/**
 * Somebody types on the terminal: its editor shows notes, above the line. False: not now. A line
 * that is empty only asks.
 */
export function notesGoTo(fn: (line: string) => boolean): void {
  atPrompt = fn;
}

/** What, and what to do. */
export function noteError(error: VmError): void {
  const head = wantsColour(process.stderr, process.env) ? styleText('red', 'Error') : 'Error';
  show(`${head}: ${printableLines(error.message)}`);
  if (error.options.hint !== undefined) note(error.options.hint);
}

/** 2: usage; 1: failed; or what the error says. */
export function exitCode(error: unknown): number {
  if (error instanceof UsageError) return 2;
  const exit = (error as { oclif?: { exit?: number } }).oclif?.exit;
  return exit ?? 1;
}

export function errorAsJson(error: unknown): {
  error: { class: string; message: string; hint?: string; exit: number };
} {
  const { message, options } = asVmError(error);
  return {
    error: {
      class: options.class ?? 'GenericError',
      message,
      hint: options.hint,
      exit: exitCode(error),
    },
  };
}

/** `colo list | head -1`: whoever read has enough, and needs no message. */
export function watchOutput(lost: (error: NodeJS.ErrnoException) => void = outputLost): void {
  process.stderr.on('error', () => undefined);
  process.stdout.on('error', lost);
}

export function outputLost(error: NodeJS.ErrnoException): void {
  if (error.code === 'EPIPE') process.exit();
  note(`Error: standard output: ${error.message}`);
  process.exit(1);
}
