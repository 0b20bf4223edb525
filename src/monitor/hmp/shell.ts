/**
 * Runs lines of HMP: text in, text out. Every mistake and every failure is text too: nothing
 * throws.
 */
import { asVmError, AssertionError, type VmError } from '../../base/errors.js';
import { printableLines } from '../../base/printable.js';
import type { Command, Registry } from '../schema.js';
import type { Vm } from '../../vm/vm.js';
import type { Style } from './style.js';
import { renderTable } from './table.js';
import { unknownCommand } from './syntax.js';
import { parseArgs, splitLine } from './parser.js';

export class HmpShell {
  constructor(
    readonly registry: Registry,
    private readonly vm: Vm,
    private readonly mayWait: boolean,
  ) {}

  /**
   * The output, each line ended by LF; '' if there is none. style: of the terminal that shows it.
   */
  async run(line: string, style?: Style): Promise<string> {
    if (isComment(line)) return '';
    const { name, argsAt } = splitLine(line);
    if (name === '') return '';
    const found = this.registry.hmp(name);
    if (!found) return this.unknown(name);
    let args: Record<string, unknown>;
    try {
      args = parseArgs(found.hmp?.args ?? {}, line, argsAt);
    } catch (error) {
      return withEnd(
        `${found.hmpName ?? name}: ${asVmError(error).message}\nTry "help ` +
          `${found.hmpName ?? name}" for more information`,
      );
    }
    const output = await this.execute(found, args, style);
    // A program reads silence as it is meant; a person wonders.
    const asked = style !== undefined && found.hmpName?.startsWith('info ') === true;
    return output === '' && asked ? '(none)\n' : output;
  }

  private async execute(
    { hmp }: Command,
    args: Record<string, unknown>,
    style: Style | undefined,
  ): Promise<string> {
    const context = {
      registry: this.registry,
      hmp: (line: string) => this.run(line),
      mayWait: this.mayWait,
    };
    try {
      const table =
        style && hmp?.table && (await renderTable(await hmp.table(this.vm, args, context), style));
      if (table !== undefined) return table;
      const output = await hmp?.run(this.vm, args, context);
      return output === undefined || output === '' ? '' : withEnd(output);
    } catch (error) {
      if (error instanceof AssertionError) throw error;
      return describe(asVmError(error));
    }
  }

  private unknown(name: string): string {
    if (name === 'info') return `${this.infoHelp()}\n`;
    return `${unknownCommand(this.registry, name)}\n`;
  }

  private infoHelp(): string {
    const topics = this.registry.hmpCommands.filter(c => c.hmpName?.startsWith('info '));
    return topics.map(c => `${c.hmpName} -- ${c.summary}`).join('\n');
  }
}

/** Of a script that a user pastes. */
export const isComment = (line: string) => /^\s*#/.test(line);

const withEnd = (text: string) => (text.endsWith('\n') ? text : `${text}\n`);

function describe(error: VmError): string {
  const hint = error.options.hint;
  return `Error: ${printableLines(error.message)}\n${hint === undefined ? '' : `${hint}\n`}`;
}
