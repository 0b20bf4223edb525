/**
 * A command that starts at once: oclif is loaded only where its words are not plainly right, or ask
 * for help. To oclif it is a command like any other. For what often takes less time than oclif's
 * start, and for the VM, whose words oclif knows nothing of.
 */
import type { Command, Interfaces } from '@oclif/core';
import { VmError } from '../base/errors.js';
import { errorAsJson, exitCode, note, noteError, watchOutput } from './output.js';
import { type Declared, plainWords } from './words.js';

const help = ['--help', '-h', '--version', '-V'];

type ToolClass = Declared & (new (argv: readonly string[]) => Tool);

export abstract class Tool {
  static readonly id: string;
  static readonly summary: string;
  static readonly description?: string;
  static readonly examples?: string[];
  static readonly args: Interfaces.ArgInput;
  static readonly flags: Interfaces.FlagInput;
  static readonly enableJsonFlag?: boolean;

  constructor(protected readonly argv: readonly string[]) {}

  /** Where words cannot be parsed it rejects, for oclif to say so. */
  static async run(this: unknown, argv: readonly string[]): Promise<unknown> {
    return new (this as ToolClass)(argv).start();
  }

  protected abstract run(): Promise<unknown>;

  protected async init(): Promise<void> {
    watchOutput();
  }

  protected jsonEnabled(): boolean {
    if (!(this.constructor as typeof Tool).enableJsonFlag) return false;
    const end = this.argv.indexOf('--');
    return this.argv.slice(0, end < 0 ? undefined : end).includes('--json');
  }

  protected note(line: string): void {
    note(line);
  }

  protected async parse<
    F extends Interfaces.OutputFlags<Interfaces.FlagInput>,
    B extends Interfaces.OutputFlags<Interfaces.FlagInput>,
    A extends Interfaces.OutputArgs<Interfaces.ArgInput>,
  >(tool: Interfaces.Input<F, B, A>): Promise<{ flags: F; args: A }> {
    const found = plainWords(
      this.argv.filter(word => word !== '--json'),
      tool as unknown as Declared,
    );
    if (found) return found as unknown as { flags: F; args: A };
    const { Flags, Parser } = await import('@oclif/core');
    const json = Flags.boolean({ description: 'Format output as json.', helpGroup: 'GLOBAL' });
    return Parser.parse<F, B, A>([...this.argv], {
      ...tool,
      flags: { json, ...tool.flags } as Interfaces.FlagInput<F>,
      context: this as unknown as Command,
    });
  }

  private async start(): Promise<unknown> {
    try {
      await this.init();
      const result = await this.run();
      if (result !== undefined && this.jsonEnabled()) this.writeJson(result);
      return result;
    } catch (error) {
      process.exitCode = exitCode(error);
      if (this.jsonEnabled()) this.writeJson(errorAsJson(error));
      else if (error instanceof VmError) noteError(error);
      else throw error;
      return undefined;
    }
  }

  private writeJson(value: unknown): void {
    process.stdout.write(`${JSON.stringify(value, null, 2)}\n`);
  }
}

/** False: these words are for oclif. */
export async function runTool(tool: typeof Tool, words: readonly string[]): Promise<boolean> {
  if (words.some(word => help.includes(word))) return false;
  try {
    await tool.run(words);
  } catch (error) {
    const { handle } = await import('@oclif/core');
    await handle(error as Error);
  }
  return true;
}
