/**
 * Results as a table, where there is a terminal that is wide enough for it; on any other the plain
 * lines are printed.
 */
import { paint, type Style } from './style.js';

export interface TextTable {
  /** None: the first column names what the second says. */
  readonly head?: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

/** One line a row: no rules between them. */
const chars = { mid: '', 'left-mid': '', 'mid-mid': '', 'right-mid': '' };
const asciiChars = {
  ...chars,
  top: '-',
  'top-mid': '+',
  'top-left': '+',
  'top-right': '+',
  bottom: '-',
  'bottom-mid': '+',
  'bottom-left': '+',
  'bottom-right': '+',
  left: '|',
  middle: '|',
  right: '|',
};

/** undefined: it does not fit, or there is nothing in it. */
export async function renderTable(
  { head, rows }: TextTable,
  style: Style,
): Promise<string | undefined> {
  if (rows.length === 0) return undefined;
  const { default: CliTable } = await import('cli-table3');
  const bold = (text: string) => paint(text, 'bold', style);
  const cells = rows.map(row =>
    row.map((cell, i) => (head === undefined && i === 0 ? bold(cell) : cell)),
  );
  // cli-table3 would colour its own head and border even where no colours are wanted.
  const border = style.ascii ? asciiChars : chars;
  const table = new CliTable({ chars: border, style: { head: [], border: [] } });
  if (head) table.push(head.map(bold));
  table.push(...cells);
  const lines = table.toString().split('\n');
  if (head) lines.splice(2, 0, lines[0].replace('┌', '├').replace('┐', '┤').replaceAll('┬', '┼'));
  return lines[0].length <= style.columns ? `${lines.join('\n')}\n` : undefined;
}

const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'] as const;

/** For people: `1.5 GiB`. */
export function shortSize(bytes: number): string {
  const n = Math.min(units.length - 1, Math.max(0, Math.floor(Math.log2(Math.max(1, bytes)) / 10)));
  return `${Math.round((bytes / 1024 ** n) * 10) / 10} ${units[n]}`;
}

/** `name: value` on each line: the names in front of what they say. */
export function pairs(text: string): TextTable {
  const rows = text
    .split('\n')
    .map(line => /^([^:]*): ?(.*)$/.exec(line))
    .map(match => (match ? [match[1], match[2]] : []));
  return { rows: rows.filter(row => row.length > 0) };
}
