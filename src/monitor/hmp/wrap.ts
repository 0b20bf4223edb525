/**
 * Long lines on a narrow terminal: cut between words, and what follows is set in below its text.
 */

const NESTED_BY = 4;
/** `    name           what it is`: a description that stands in a column. */
const described = /^ {2,}\S+ {2,}(?=\S)/;

/** Lines with colours are left as they are: they were made to fit. */
export function wrapLines(text: string, columns: number): string {
  const lines = text.split('\n');
  return lines
    .map(line => (line.length <= columns || line.includes('\x1b') ? line : wrap(line, columns)))
    .join('\n');
}

function wrap(line: string, columns: number): string {
  const indent = /^ */.exec(line)![0].length;
  const column = described.exec(line)?.[0].length ?? indent + NESTED_BY;
  const margin = ' '.repeat(Math.min(column, Math.floor(columns / 2)));
  const out: string[] = [];
  let rest = line;
  while (rest.length > columns) {
    const from = out.length === 0 ? indent : margin.length;
    const at = rest.lastIndexOf(' ', columns);
    // A word that is longer than a row has to break somewhere: there the terminal does it.
    const end = at > from ? at : rest.indexOf(' ', Math.max(from, columns));
    if (end < 0) break;
    out.push(rest.slice(0, end).trimEnd());
    rest = margin + rest.slice(end).trimStart();
  }
  return [...out, rest].join('\n');
}
