/** Derived from the declarations: the syntax of a command as help shows it. */
import { similar } from '../../base/similar.js';
import { whyNotOffered } from '../not-offered.js';
import type { Command, Registry } from '../schema.js';
import type { Fields, Type } from '../../words/types.js';

/** `[-d] uri [name]` */
export function argumentSyntax(fields: Fields): string {
  const parts = Object.entries(fields).flatMap(([name, { hmp, optional }]) => {
    if (hmp.form === 'none') return [];
    if (hmp.form === 'flag') return [`[-${hmp.letter}]`];
    if (hmp.form === 'format') return ['[/fmt]'];
    return [optional ? `[${name}]` : name];
  });
  return parts.join(' ');
}

const MAX_WORDS_SHOWN = 3;

/** One argument in a hint: its few words, or its name. */
export function argumentWord(name: string, { words, optional }: Type): string {
  const shown = words !== undefined && words.length <= MAX_WORDS_SHOWN ? words.join('|') : name;
  return optional ? `[${shown}]` : shown;
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
    lines.push(
      `    ${(type.hmp.form === 'flag' ? `-${type.hmp.letter}` : name).padEnd(14)} ${type.summary}`,
    );
  }
  lines.push(...command.notes.map(note => `    ${note}`));
  return [...lines, ...command.examples.map(example => `    Example: ${example}`)].join('\n');
}

/** Two lines at most. `info` is not counted as part of what was mistyped. */
export function unknownCommand(registry: Registry, name: string): string {
  const reason = whyNotOffered(name);
  if (reason !== undefined) return `unknown command: '${name}'\n${reason}`;
  const prefix = name.startsWith('info ') ? 'info ' : '';
  const known = registry.hmpCommands
    .flatMap(c => [c.hmpName ?? '', ...c.aliases])
    .filter(n => n.startsWith('info ') === (prefix !== ''));
  const [best] = similar(
    name.slice(prefix.length),
    known.map(n => n.slice(prefix.length)),
  );
  return (
    'unknown command: ' +
    `'${name}'${best === undefined ? '' : `\nDid you mean '${prefix}${best}'?`}`
  );
}
