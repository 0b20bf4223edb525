/**
 * What every command does alike: exit codes (0 done, 1 failed, 2 usage), errors on standard error as what / where / what to do, and as one
 * small object under --json; colours only on a terminal that wants them.
 */
import { styleText } from 'node:util';
import { Command } from '@oclif/core';
import { asVmError, VmError } from '../base/errors.js';
import { wantsColour } from './colour.js';
import { UsageError } from './options/argv.js';

export abstract class BaseCommand extends Command {
  override async init(): Promise<void> {
    await super.init();
    process.stderr.on('error', () => undefined);
    process.stdout.on('error', (error: NodeJS.ErrnoException) => this.outputLost(error));
  }

  /** `colo list | head -1`: whoever read has enough, and needs no message. */
  protected outputLost(error: NodeJS.ErrnoException): void {
    if (error.code === 'EPIPE') process.exit();
    this.note(`Error: standard output: ${error.message}`);
    process.exit(1);
  }

  /** Progress and messages: never on standard output. */
  protected note(line: string): void {
    process.stderr.write(`${line}\n`);
  }

  protected override async catch(error: Error & { exitCode?: number; oclif?: { exit?: number } }): Promise<unknown> {
    process.exitCode = exitCode(error);
    // Words that could not be parsed have their message: oclif's warning to developers is none of the user's.
    this.parsed = true;
    if (this.jsonEnabled()) {
      this.logJson(this.toErrorJson(error));
      return undefined;
    }
    if (!(error instanceof VmError)) return super.catch(error);
    const head = wantsColour(process.stderr, process.env) ? styleText('red', 'Error') : 'Error';
    this.note(`${head}: ${error.message}`);
    if (error.options.hint !== undefined) this.note(error.options.hint);
    return undefined;
  }

  protected override toErrorJson(error: unknown): { error: { class: string; message: string; hint?: string; exit: number } } {
    const { message, options } = asVmError(error);
    return { error: { class: options.class ?? 'GenericError', message, hint: options.hint, exit: exitCode(error) } };
  }
}

function exitCode(error: unknown): number {
  if (error instanceof UsageError) return 2;
  const exit = (error as { oclif?: { exit?: number } }).oclif?.exit;
  return exit ?? 1;
}
