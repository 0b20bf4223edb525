/** `help`, or QEMU's older `?`, where an option's value stands: what there is, a line each. */

export const asksForHelp = (text: string) => text === 'help' || text === '?';

export function listOf(title: string, sentences: Readonly<Record<string, string>>): string {
  const width = Math.max(...Object.keys(sentences).map(name => name.length));
  return [
    title,
    ...Object.entries(sentences).map(([name, sentence]) => `  ${name.padEnd(width)}  ${sentence}`),
  ].join('\n');
}
