/**
 * A person at a terminal: keys into a process on a real pseudo-terminal, and what stands on the
 * screen (of xterm, headless) afterwards.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type IPty, spawn } from '@lydell/node-pty';
import headless from '@xterm/headless';

export const keys = {
  tab: '\t',
  enter: '\r',
  up: '\x1b[A',
  left: '\x1b[D',
  right: '\x1b[C',
  ctrlA: '\x01',
  ctrlC: '\x03',
  ctrlD: '\x04',
  ctrlG: '\x07',
  ctrlL: '\x0c',
  ctrlR: '\x12',
  backspace: '\x7f',
} as const;
const patienceMs = 15_000;
/** Longer than a person's two keys are apart, and an editor needs for one. */
const betweenKeysMs = 15;

export interface Seat {
  readonly columns?: number;
  readonly rows?: number;
  readonly env?: Readonly<Record<string, string | undefined>>;
}

export class Person {
  readonly exited: Promise<number>;
  /** Every byte that the process wrote. */
  raw = '';
  private readonly screen: headless.Terminal;
  private readonly pty: IPty;

  constructor(args: readonly string[], { columns = 80, rows = 24, env = {} }: Seat = {}) {
    this.screen = new headless.Terminal({
      cols: columns,
      rows,
      scrollback: 500,
      allowProposedApi: true,
    });
    const given = {
      ...process.env,
      NODE_OPTIONS: '',
      TERM: 'xterm',
      NO_COLOR: undefined,
      FORCE_COLOR: undefined,
      ...env,
    };
    const clean = Object.fromEntries(
      Object.entries(given).filter(([, value]) => value !== undefined),
    ) as Record<string, string>;
    this.pty = spawn(
      process.execPath,
      ['--import', 'tsx', '--disable-warning=ExperimentalWarning', ...args],
      { cols: columns, rows, env: clean },
    );
    this.pty.onData(text => {
      this.raw += text;
      this.screen.write(text);
    });
    // What a terminal answers when it is asked something.
    this.screen.onData(text => this.pty.write(text));
    this.exited = new Promise(resolve => this.pty.onExit(({ exitCode }) => resolve(exitCode)));
  }

  get pid(): number {
    return this.pty.pid;
  }

  /** Each a write of its own. */
  async press(...what: string[]): Promise<void> {
    for (const key of what) {
      this.pty.write(key);
      await new Promise(resolve => setTimeout(resolve, betweenKeysMs));
    }
  }

  /** Everything from the first line on, without empty rows at the end. */
  get text(): string {
    const buffer = this.screen.buffer.active;
    const rows = Array.from(
      { length: buffer.length },
      (_, y) => buffer.getLine(y)?.translateToString(true) ?? '',
    );
    return rows.join('\n').trimEnd();
  }

  /** What stands on the screen now. */
  get screenText(): string {
    const { active } = this.screen.buffer;
    const rows = Array.from(
      { length: this.screen.rows },
      (_, y) => active.getLine(active.baseY + y)?.translateToString(true) ?? '',
    );
    return rows.join('\n').trimEnd();
  }

  /** The row of the cursor, up to it. */
  get typed(): string {
    const { active } = this.screen.buffer;
    return (
      active.getLine(active.baseY + active.cursorY)?.translateToString(false, 0, active.cursorX) ??
      ''
    );
  }

  /** The row of the cursor, behind it: where hints are. */
  get behind(): string {
    const { active } = this.screen.buffer;
    return (
      active.getLine(active.baseY + active.cursorY)?.translateToString(false, active.cursorX) ?? ''
    ).trimEnd();
  }

  async sees(text: string | RegExp, where: 'text' | 'typed' | 'behind' = 'text'): Promise<void> {
    const there = () =>
      text instanceof RegExp
        ? text.test(this[where])
        : where === 'text'
          ? this.text.includes(text)
          : this[where] === text;
    const deadline = performance.now() + patienceMs;
    while (!there()) {
      if (performance.now() > deadline)
        throw new Error(
          `not seen (${where}): ${String(text)}; typed ${JSON.stringify(this.typed)}, behind ` +
            `${JSON.stringify(this.behind)}; screen:\n${this.text}`,
        );
      await new Promise(resolve => setTimeout(resolve, 5));
    }
  }

  /** As a person who drags the border of the window: the terminal sets its lines anew. */
  resize(columns: number, rows = 24): void {
    this.screen.resize(columns, rows);
    this.pty.resize(columns, rows);
  }

  kill(): void {
    this.pty.kill('SIGKILL');
  }
}

/** A home of its own: no test meets the history of another, or of whoever runs it. */
export function temporaryHome(): { env: Record<string, string>; path: string; remove(): void } {
  const path = mkdtempSync(join(tmpdir(), 'colo-home-'));
  return {
    path,
    env: { HOME: path, XDG_STATE_HOME: join(path, 'state') },
    remove: () => rmSync(path, { recursive: true, force: true }),
  };
}
