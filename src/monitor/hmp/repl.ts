/**
 * The line editor at a terminal: history, completion by Tab, Ctrl-C cancels the line (or stops waiting for a command, which goes on),
 * Ctrl-D leaves. What happens meanwhile is printed above the line that is being typed.
 */
import type { Interface } from 'node:readline';
import { createInterface, cursorTo, clearScreenDown, moveCursor } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import type { Completions } from './completion.js';

export interface ReplOptions {
  readonly input: Readable;
  readonly output: Writable;
  readonly prompt: string;
  readonly banner: string;
  /** Output of a line, LF line ends. Must not throw. */
  run(line: string): Promise<string>;
  complete(line: string): Promise<Completions>;
  /** Ctrl-D, or the input ended. */
  left(): void;
}

const historySize = 500;

export class Repl {
  private readonly editor: Interface;
  private readonly typed: string[] = [];
  private running = false;
  private closed = false;
  private stopWaiting: (() => void) | undefined;

  constructor(private readonly options: ReplOptions) {
    this.editor = createInterface({
      input: options.input,
      output: options.output,
      terminal: true,
      historySize,
      removeHistoryDuplicates: true,
      prompt: options.prompt,
      completer: (line: string, done: (error: Error | null, result: [string[], string]) => void) => {
        options.complete(line).then(
          ({ candidates, word }) => done(null, [oneEndsInBlank(candidates), word]),
          () => done(null, [[], line]),
        );
      },
    });
    this.editor.on('line', line => this.entered(line));
    this.editor.on('SIGINT', () => this.interrupted());
    this.editor.on('close', () => this.leave());
    options.output.write(`${options.banner}\n`);
    this.editor.prompt();
  }

  /** Above the line that is being typed. */
  print(text: string): void {
    if (this.closed) return;
    const { output } = this.options;
    if (this.running) {
      output.write(text);
      return;
    }
    // The editor remembers on which row of its line the cursor is and goes up that far before it draws again: give it those rows.
    const { rows } = this.editor.getCursorPos();
    moveCursor(output, 0, -rows);
    cursorTo(output, 0);
    clearScreenDown(output);
    output.write(text + '\n'.repeat(rows));
    this.editor.prompt(true);
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.stopWaiting?.();
    this.editor.close();
  }

  private entered(line: string): void {
    this.typed.push(line);
    if (!this.running) void this.runTyped();
  }

  private async runTyped(): Promise<void> {
    this.running = true;
    for (let line = this.typed.shift(); line !== undefined && !this.closed; line = this.typed.shift()) {
      const output = await this.waitFor(this.options.run(line));
      if (!this.closed) this.options.output.write(output);
    }
    this.running = false;
    if (!this.closed) this.editor.prompt();
  }

  private waitFor(result: Promise<string>): Promise<string> {
    const stopped = new Promise<string>(resolve => (this.stopWaiting = () => resolve('(not waiting any longer; the command goes on)\n')));
    return Promise.race([result, stopped]).finally(() => (this.stopWaiting = undefined));
  }

  private interrupted(): void {
    this.options.output.write('^C\n');
    if (this.stopWaiting) return this.stopWaiting();
    this.editor.write(null, { ctrl: true, name: 'e' });
    this.editor.write(null, { ctrl: true, name: 'u' });
  }

  private leave(): void {
    if (this.closed) return;
    this.closed = true;
    this.stopWaiting?.();
    this.options.left();
  }
}

/** A single candidate is the word: a blank follows it. */
function oneEndsInBlank(candidates: string[]): string[] {
  return candidates.length === 1 ? [`${candidates[0]} `] : candidates;
}
