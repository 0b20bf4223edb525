/**
 * `--help`: oclif's, plus the option table of the commands that take QEMU's command line, which
 * oclif knows nothing of.
 */
import { type Command, Help } from '@oclif/core';
import { optionTable } from './options/table.js';

const indent = 25;
const defaultColumns = 80;

export class ColoHelp extends Help {
  protected override formatCommand(command: Command.Loadable): string {
    const text = super.formatCommand(command);
    if (command.id !== 'primary' && command.id !== 'secondary') return text;
    const columns = Math.max(60, Math.min(process.stdout.columns || defaultColumns, 120));
    const examples = text.search(/^EXAMPLES/m);
    const at = examples < 0 ? text.length : examples;
    return (
      `${text.slice(0, at)}OPTIONS (as in QEMU; one dash or ` +
      `two)\n${optionHelp(columns)}\n\n${text.slice(at)}`
    );
  }
}

export function optionHelp(columns: number): string {
  const lines = optionTable.flatMap(option => {
    const head = `  -${option.name}${'value' in option ? ` ${option.value}` : ''}`;
    const [first, ...rest] = wrap(option.summary, columns - indent);
    const margin = ' '.repeat(indent);
    const opening = head.length < indent ? [head.padEnd(indent) + first] : [head, margin + first];
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
