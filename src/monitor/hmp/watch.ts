/**
 * `watch [-n SECONDS] [-c COUNT] COMMAND`: runs a command again and again and redraws its output in
 * place, until a key.
 */
import type { Disposable } from '../../base/disposable.js';
import type { Terminal } from '../../chardev/contract.js';
import type { Clock } from '../../host/ports.js';

export const WATCH_HELP =
  'watch [-n seconds] [-c count] command -- run a command again and again, in place, ' +
  `until a key is pressed
    -n             seconds between two runs, 0.1 to 3600; default 2
    -c             at most so many runs, 1 to 100000; default 1800
    command        a line that only looks: info ..., x, xp, print, help, qom-get, qom-list
    Only at a terminal.
    Example: watch -n 1 info colo
`;

/** Commands that may run again and again unattended: they change nothing, here or in QEMU. */
const lookers = new Set(['info', 'x', 'xp', 'print', 'p', 'help', '?', 'qom-get', 'qom-list']);

export interface WatchRequest {
  readonly everyMs: number;
  readonly count: number;
  readonly line: string;
}

/** A string: what is wrong with it. */
export function parseWatch(line: string): WatchRequest | string {
  const wrong = (why: string) => `watch: ${why}\nTry "help watch" for more information\n`;
  let rest = line.trim().replace(/^watch\s*/, '');
  let everyMs = 2000;
  let count = 1800;
  for (
    let flag = /^-([a-z])\s+(\S+)\s*/.exec(rest);
    flag;
    flag = /^-([a-z])\s+(\S+)\s*/.exec(rest)
  ) {
    const value = /^[0-9]+(\.[0-9]+)?$/.test(flag[2]) ? Number(flag[2]) : Number.NaN;
    if (flag[1] === 'n' && value >= 0.1 && value <= 3600) everyMs = value * 1000;
    else if (flag[1] === 'c' && Number.isInteger(value) && value >= 1 && value <= 100_000)
      count = value;
    else
      return wrong(
        flag[1] === 'n'
          ? `seconds from 0.1 to 3600 expected, not '${flag[2]}'`
          : flag[1] === 'c'
            ? `a count from 1 to 100000 expected, not '${flag[2]}'`
            : `unsupported option -${flag[1]}`,
      );
    rest = rest.slice(flag[0].length);
  }
  if (rest === '' || rest.startsWith('-')) return wrong('a command is expected');
  const [verb] = rest.split(/[\s/]/);
  if (verb === 'watch') return wrong('it does not watch itself');
  if (!lookers.has(verb)) return wrong(`'${verb}' is no command that only looks`);
  return { everyMs, count, line: rest };
}

export interface WatchScreen {
  readonly terminal: Pick<Terminal, 'columns' | 'rows'>;
  readonly clock: Clock;
  write(text: string): void;
  run(line: string): Promise<string>;
}

export class Watch {
  /** With what is left to print. */
  readonly ended: Promise<string>;
  private end: (text: string) => void = () => undefined;
  private timer: Disposable | undefined;
  private rows = 0;
  private over = false;

  constructor(
    private readonly wanted: WatchRequest,
    private readonly screen: WatchScreen,
  ) {
    this.ended = new Promise(resolve => (this.end = resolve));
    void this.round(1);
  }

  stop(): void {
    if (this.over) return;
    this.over = true;
    this.timer?.dispose();
    this.end('');
  }

  private async round(n: number): Promise<void> {
    const output = await this.screen.run(this.wanted.line);
    if (this.over) return;
    this.draw(output);
    if (n >= this.wanted.count) return this.stop();
    this.timer = this.screen.clock.timer(this.wanted.everyMs, () => void this.round(n + 1));
  }

  /** What does not fit the screen is cut: a row that scrolled away could not be drawn again. */
  private draw(output: string): void {
    const { columns, rows } = this.screen.terminal;
    const head = `every ${this.wanted.everyMs / 1000} s: ${this.wanted.line} (any key ends it)`;
    const lines = [head, ...output.replace(/\n$/, '').split('\n')];
    const fit = lines.slice(0, Math.max(1, rows - 1)).map(line => cut(line, columns - 1));
    const up = this.rows > 0 ? `\x1b[${this.rows}A` : '';
    this.screen.write(`${up}\r\x1b[J${fit.join('\n')}\n`);
    this.rows = fit.length;
  }
}

/** To so many characters; colours take no room, and end with the line. */
function cut(line: string, width: number): string {
  let shown = 0;
  let out = '';
  for (const piece of line.match(/\x1b\[[0-9;]*m|[^\x1b]/gu) ?? []) {
    if (piece.startsWith('\x1b')) out += piece;
    else if (shown++ < width) out += piece;
  }
  return out;
}
