/** Derived from the declarations: the syntax of a command as help shows it. */
import type { Command } from '../schema.js';
import type { Fields } from '../types.js';

/** `[-d] uri [name]` */
export function argumentSyntax(fields: Fields): string {
  const parts = Object.entries(fields).flatMap(([name, { hmp, optional }]) => {
    if (hmp.form === 'none') return [];
    if (hmp.form === 'flag') return [`[-${hmp.letter}]`];
    return [optional ? `[${name}]` : name];
  });
  return parts.join(' ');
}

/** `migrate [-d] uri -- migrate to URI` */
export function oneLine(command: Command): string {
  const names = [command.hmpName ?? command.name, ...command.aliases].join('|');
  const syntax = argumentSyntax(command.hmp?.args ?? {});
  return `${names}${syntax === '' ? '' : ` ${syntax}`} -- ${command.summary}`;
}

/** The one line, then every argument, then the notes. */
export function fullHelp(command: Command): string {
  const lines = [oneLine(command)];
  for (const [name, type] of Object.entries(command.hmp?.args ?? {})) {
    if (type.summary === '' || type.hmp.form === 'none') continue;
    lines.push(`    ${(type.hmp.form === 'flag' ? `-${type.hmp.letter}` : name).padEnd(14)} ${type.summary}`);
  }
  return [...lines, ...command.notes.map(note => `    ${note}`)].join('\n');
}
