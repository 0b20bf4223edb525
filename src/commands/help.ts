/**
 * `--help`: oclif's, plus the option table of the commands that take QEMU's command line, which
 * oclif knows nothing of.
 */
import { type Command, Help } from '@oclif/core';
import type { OptionSyntax } from './options/argv.js';

const INDENT = 25;
const DEFAULT_COLUMNS = 80;

const isVm = ({ id }: Command.Loadable) => id === 'primary' || id === 'secondary';

export class ColoHelp extends Help {
  private options: readonly OptionSyntax[] = [];

  override async showCommandHelp(command: Command.Loadable): Promise<void> {
    // The table holds what the options do, and so takes long to load.
    if (isVm(command)) this.options = (await import('./options/table.js')).optionTable;
    return super.showCommandHelp(command);
  }

  protected override formatCommand(command: Command.Loadable): string {
    const text = super.formatCommand(command);
    if (!isVm(command)) return text;
    const columns = Math.max(60, Math.min(process.stdout.columns || DEFAULT_COLUMNS, 120));
    const examples = text.search(/^EXAMPLES/m);
    const at = examples < 0 ? text.length : examples;
    return (
      `${text.slice(0, at)}OPTIONS (as in QEMU; one dash or ` +
      `two)\n${optionHelp(this.options, columns)}\n\n${text.slice(at)}`
    );
  }
}

function optionHelp(options: readonly OptionSyntax[], columns: number): string {
  const lines = options.flatMap(option => {
    const head = `  -${option.name}${option.value === undefined ? '' : ` ${option.value}`}`;
    const [first, ...rest] = wrap(option.summary, columns - INDENT);
    const margin = ' '.repeat(INDENT);
    const opening = head.length < INDENT ? [head.padEnd(INDENT) + first] : [head, margin + first];
    return [...opening, ...rest.map(line => margin + line)];
  });
  return lines.join('\n');
}

function wrap(text: string, width: number): string[] {
  const lines = [''];
  for (const word of text.split(' ')) {
    const last = lines[lines.length - 1];
    if (last === '') lines[lines.length - 1] = word;
    else if (last.length + 1 + word.length <= width) lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines;
}
