/**
 * The line editor at a terminal: history, completion by Tab, a grey hint behind the cursor, Ctrl-R
 * searches backwards, Ctrl-C cancels the line (or stops waiting for a command, which continues),
 * Ctrl-D leaves. What happens meanwhile is printed above the line that is being typed.
 */
import {
  clearScreenDown,
  createInterface,
  cursorTo,
  type Interface,
  moveCursor,
} from 'node:readline';
import { Readable, Writable } from 'node:stream';
import type { Terminal } from '../../chardev/contract.js';
import type { Clock } from '../../host/ports.js';
import type { Assist } from './completion.js';
import { Hint } from './hint.js';
import { type History, mayBeKept } from './history.js';
import { ctrl, ENTER, KeyGate, pasteMode } from './keys.js';
import { Reflow } from './reflow.js';
import { ReverseSearch } from './reverse-search.js';
import { paintOutput } from './style.js';
import { wrapLines } from './wrap.js';
import { parseWatch, Watch, WATCH_HELP } from './watch.js';

export interface ReplOptions {
  readonly terminal: Pick<Terminal, 'columns' | 'rows' | 'colour' | 'onResize'>;
  /** To the terminal; LF line ends. */
  write(text: string): void;
  readonly prompt: string;
  readonly banner: string;
  readonly clock: Clock;
  /** Absent: none is kept. */
  readonly history?: History;
  /** Output of a line, LF line ends. Must not throw. */
  run(line: string): Promise<string>;
  assist(line: string): Promise<Assist>;
  /** Names of files that begin like this, folders with a slash. */
  files(prefix: string): Promise<readonly string[]>;
  /** Ctrl-D, or the input ended. */
  left(): void;
}

const HISTORY_SIZE = 1000;
const builtins = ['watch'];

export class Repl {
  private readonly editor: Interface;
  private readonly keys: KeyGate;
  private readonly screen: Writable;
  private readonly input = new Readable({ read: () => undefined });
  private readonly hint: Hint;
  private readonly search: ReverseSearch;
  private readonly reflow: Reflow;
  /** Newest first. */
  private past: readonly string[];
  private watch: Watch | undefined;
  private running = false;
  private closed = false;
  private stopWaiting: (() => void) | undefined;

  constructor(private readonly options: ReplOptions) {
    const { terminal, history, prompt } = options;
    this.past = history?.earlier ?? [];
    this.keys = new KeyGate({
      key: key => this.key(key),
      interrupt: () => this.interrupted(),
      overflow: () => options.write('\x07'),
    });
    this.screen = columnsWriter(terminal, options.write);
    this.editor = createInterface({
      input: this.input,
      output: this.screen,
      terminal: true,
      historySize: HISTORY_SIZE,
      history: [...this.past],
      removeHistoryDuplicates: true,
      prompt,
      completer: (
        line: string,
        done: (error: Error | null, result: [string[], string]) => void,
      ) => {
        // What is typed meanwhile comes behind what was completed.
        this.keys.hold();
        void this.complete(line).then(result => {
          done(null, result);
          this.hint.refresh();
          this.keys.release();
        });
      },
    });
    this.hint = new Hint(this.editor, terminal, options.write, line => this.suggest(line));
    const { clock, write } = options;
    this.reflow = new Reflow(this.editor, { terminal, clock, write }, () => {
      this.hint.erase();
      this.screen.emit('resize');
    });
    this.search = new ReverseSearch(this.editor, prompt, () => this.past);
    this.editor.on('history', (lines: string[]) => (this.past = [...lines]));
    this.editor.on('line', line => void this.entered(line));
    this.editor.on('SIGTSTP', () => undefined);
    this.editor.on('close', () => this.leave());
    options.write(`${pasteMode.on}${options.banner}\n`);
    this.editor.prompt();
  }

  push(bytes: Uint8Array): void {
    if (!this.closed) this.keys.push(bytes);
  }

  /** Above the line that is being typed. */
  print(text: string): void {
    if (this.closed) return;
    const { write } = this.options;
    const { terminal } = this.options;
    const shown = paintOutput(wrapLines(text, terminal.columns), terminal);
    if (this.running) return write(shown);
    this.hint.erase();
    // The editor remembers on which row of its line the cursor is and goes up that far before it
    // draws again: give it those rows.
    const { rows } = this.editor.getCursorPos();
    moveCursor(this.screen, 0, -rows);
    cursorTo(this.screen, 0);
    clearScreenDown(this.screen);
    write(shown + '\n'.repeat(rows));
    this.editor.prompt(true);
    this.hint.refresh();
  }

  /** Another front end has the terminal for a while, or the editor has it again. */
  focus(focused: boolean): void {
    if (this.closed) return;
    const { write } = this.options;
    if (!focused) {
      this.hint.erase();
      return write(pasteMode.off);
    }
    write(pasteMode.on);
    if (this.running) return;
    write('\n'.repeat(this.editor.getCursorPos().rows));
    this.print('');
  }

  close(): void {
    if (this.closed) return;
    this.hint.erase();
    this.closed = true;
    this.reflow.dispose();
    this.watch?.stop();
    this.stopWaiting?.();
    this.editor.close();
    this.options.write(pasteMode.off);
  }

  private key(key: string): void {
    if (this.closed || this.reflow.key(key)) return;
    if (this.watch) return this.watch.stop();
    if (this.search.active && this.search.key(key)) return;
    if (key === ctrl.r) {
      this.hint.erase();
      return this.search.begin();
    }
    if (this.hint.accept(key)) return;
    this.hint.erase();
    this.input.emit('data', Buffer.from(key));
    if (key !== ENTER) this.hint.refresh();
  }

  private async complete(line: string): Promise<[string[], string]> {
    try {
      const { candidates, word, path } = await this.options.assist(line);
      const own = word === line ? builtins.filter(name => name.startsWith(word)) : [];
      const files =
        path === undefined
          ? []
          : (await this.options.files(path)).map(
              name => word.slice(0, word.length - path.length) + name,
            );
      return [oneEndsInBlank([...candidates, ...own, ...files]), word];
    } catch {
      return [[], line];
    }
  }

  /** What a hint says: the newest line that begins so, or what the monitor knows. */
  private async suggest(line: string): Promise<{ text: string; usable: boolean }> {
    const earlier = this.past.find(old => old.startsWith(line) && old !== line);
    if (earlier !== undefined) return { text: earlier.slice(line.length), usable: true };
    const { candidates, word, hint } = await this.options.assist(line);
    return {
      text: hint,
      usable: word !== '' && candidates.length === 1 && word + hint === candidates[0],
    };
  }

  private async entered(line: string): Promise<void> {
    this.running = true;
    this.keys.hold();
    if (mayBeKept(line)) this.options.history?.add(line);
    const output = await this.waitFor(this.execute(line));
    this.running = false;
    if (!this.closed) {
      const { terminal } = this.options;
      this.options.write(paintOutput(wrapLines(output, terminal.columns), terminal));
      this.editor.prompt();
    }
    this.keys.release();
  }

  private execute(line: string): Promise<string> {
    const [first, second, third] = line.trim().split(/\s+/);
    if ((first === 'help' || first === '?') && second === 'watch' && third === undefined)
      return Promise.resolve(WATCH_HELP);
    if ((first === 'help' || first === '?') && second === undefined)
      return this.options.run(line).then(text => `${text}${WATCH_HELP.split('\n')[0]}\n`);
    if (first !== 'watch') return this.options.run(line);
    const wanted = parseWatch(line);
    return typeof wanted === 'string' ? Promise.resolve(wanted) : this.watching(wanted);
  }

  private async watching(wanted: Exclude<ReturnType<typeof parseWatch>, string>): Promise<string> {
    const { terminal, clock, write, run } = this.options;
    this.watch = new Watch(wanted, {
      terminal,
      clock,
      write: text => write(paintOutput(text, terminal)),
      run,
    });
    this.keys.release();
    try {
      return await this.watch.ended;
    } finally {
      this.keys.hold();
      this.watch = undefined;
    }
  }

  private waitFor(result: Promise<string>): Promise<string> {
    const stopped = new Promise<string>(
      resolve =>
        (this.stopWaiting = () => resolve('(not waiting any longer; the command goes on)\n')),
    );
    return Promise.race([result, stopped]).finally(() => (this.stopWaiting = undefined));
  }

  private interrupted(): void {
    if (this.closed) return;
    if (this.watch) return this.watch.stop();
    this.search.cancel();
    this.hint.erase();
    this.options.write('^C\n');
    if (this.stopWaiting) return this.stopWaiting();
    this.editor.write(null, { ctrl: true, name: 'e' });
    this.editor.write(null, { ctrl: true, name: 'u' });
  }

  private leave(): void {
    if (this.closed) return;
    this.close();
    this.options.left();
  }
}

/** A single candidate is the word: a blank follows it, unless it can go on. */
function oneEndsInBlank(candidates: string[]): string[] {
  return candidates.length === 1 && !/[/=,]$/.test(candidates[0])
    ? [`${candidates[0]} `]
    : candidates;
}

/** What readline wants of an output: a Writable that knows its width. */
function columnsWriter(terminal: ReplOptions['terminal'], write: (text: string) => void): Writable {
  const writable = new Writable({
    decodeStrings: false,
    write(chunk: Buffer | string, _encoding, done) {
      write(String(chunk));
      done();
    },
  });
  Object.defineProperty(writable, 'columns', { get: () => terminal.columns });
  return writable;
}
