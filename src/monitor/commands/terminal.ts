/**
 * The prompt of a client elsewhere is as good as one of this process: what completes its lines, and
 * lines that answer as on a terminal.
 */
import { VmError } from '../../base/errors.js';
import { complete } from '../hmp/completion.js';
import { MAX_LINE_BYTES } from '../hmp/lines.js';
import { command } from '../schema.js';
import { bool, int, list, optional, str, struct } from '../../words/types.js';

const line = str('a line of HMP, at most 4096 bytes; to complete: up to the cursor');

export const terminalCommands = [
  command({
    name: 'x-complete',
    since: '0.1',
    monitors: 'qmp',
    summary: 'tell what may follow in a line of HMP',
    notes: [
      'candidates replace `word`, the end of the line; `hint` is for people; `path`, if ' +
        'there, is the beginning of a file name.',
    ],
    examples: ['{"line": "info sta"}'],
    args: { line },
    returns: struct('LineAssist', {
      candidates: list(str()),
      word: str(),
      hint: str(),
      path: optional(str()),
    }),
    run: (vm, args, { registry }) => complete(registry, vm, bounded(args.line)),
  }),
  command({
    name: 'x-hmp-line',
    since: '0.1',
    monitors: 'qmp',
    summary: 'run a line of HMP for a terminal: with tables that fit it, and colours',
    notes: ['As human-monitor-command otherwise; lines end in LF.'],
    examples: ['{"line": "info block", "columns": 80, "colour": false}'],
    args: {
      line,
      columns: int('width of the terminal', { min: 1, max: 10_000 }),
      colour: bool('it shows colours'),
      ascii: optional(bool('it shows nothing but ASCII')),
    },
    returns: str(),
    run: (_vm, { columns, colour, ascii, ...given }, { hmp }) =>
      hmp(bounded(given.line), { columns, colour, ascii }),
  }),
];

function bounded(text: string): string {
  if (Buffer.byteLength(text) > MAX_LINE_BYTES)
    throw new VmError(`a line has at most ${MAX_LINE_BYTES} bytes`);
  return text;
}
