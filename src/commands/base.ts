/**
 * What every command does alike: exit codes (0 done, 1 failed, 2 usage), errors on standard error
 * as what / where / what to do, and as one small object under --json; colours only on a terminal
 * that wants them.
 */
import { Command, type Interfaces } from '@oclif/core';
import { VmError } from '../base/errors.js';
import { errorAsJson, exitCode, note, noteError, outputLost, watchOutput } from './output.js';

/**
 * The words of a line that are no flags, as they were typed. Of a command that takes any number
 * of them: oclif's own list sorts them by their text, and moves those that are equal together.
 */
export function wordsInOrder({ raw }: Pick<Interfaces.ParserOutput, 'raw'>): string[] {
  return raw.filter(token => token.type === 'arg').map(token => token.input);
}

export abstract class BaseCommand extends Command {
  override async init(): Promise<void> {
    await super.init();
    watchOutput(error => this.outputLost(error));
  }

  protected outputLost(error: NodeJS.ErrnoException): void {
    outputLost(error);
  }

  protected note(line: string): void {
    note(line);
  }

  protected override async catch(
    error: Error & { exitCode?: number; oclif?: { exit?: number } },
  ): Promise<unknown> {
    process.exitCode = exitCode(error);
    // Words that could not be parsed have their message: oclif's warning to developers is none of
    // the user's.
    this.parsed = true;
    if (this.jsonEnabled()) {
      this.logJson(this.toErrorJson(error));
      return undefined;
    }
    if (!(error instanceof VmError)) return super.catch(error);
    noteError(error);
    return undefined;
  }

  protected override toErrorJson(error: unknown): ReturnType<typeof errorAsJson> {
    return errorAsJson(error);
  }
}
