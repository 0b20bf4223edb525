/**
 * What every command does alike: exit codes (0 done, 1 failed, 2 usage), errors on standard error as what / where / what to do, and as one
 * small object under --json; colours only on a terminal that wants them.
 */
import { Command } from '@oclif/core';
import { VmError } from '../base/errors.js';
import { errorAsJson, exitCode, note, noteError, outputLost, watchOutput } from './output.js';

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

  protected override async catch(error: Error & { exitCode?: number; oclif?: { exit?: number } }): Promise<unknown> {
    process.exitCode = exitCode(error);
    // Words that could not be parsed have their message: oclif's warning to developers is none of the user's.
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
