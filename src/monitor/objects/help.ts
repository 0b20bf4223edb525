/** `help` in the place of an object's type, or of a property: what there is. */
import type { Fields } from '../../words/types.js';
import { objectTypeNamed, objectTypes } from './all.js';

/** undefined: no help was asked for. */
export function objectHelp(text: string): string | undefined {
  if (text === 'help' || text === '?') {
    const types = [...objectTypes].sort((a, b) => (a.name < b.name ? -1 : 1));
    return [
      'List of user creatable objects:',
      ...types.map(type => `  ${type.name.padEnd(20)} ${type.summary}`),
    ].join('\n');
  }
  const match = /^([^,=]+),(?:help|\?)$/.exec(text);
  if (!match) return undefined;
  const type = objectTypeNamed(match[1]);
  return [
    `${type.name} options:`,
    ...fieldLines(type.fields),
    ...type.notes.map(note => `  ${note}`),
  ].join('\n');
}

export function fieldLines(fields: Fields): string[] {
  return Object.entries(fields).map(([name, type]) => {
    const kind = type.words?.join('|') ?? (type.hmp.form === 'word' ? type.hmp.expected : 'value');
    return `  ${`${name}=<${kind}>`.padEnd(28)} ${type.summary}${type.optional ? '' : ' (needed)'}`;
  });
}
