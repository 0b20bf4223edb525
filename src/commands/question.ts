/** Questions on a terminal, one after the other: Tab completes, Up goes back to the former one. */
import { createInterface, type Interface } from 'node:readline';
import chalk from 'chalk';
import { VmError } from '../base/errors.js';

export interface LineQuestion {
  readonly text: string;
  /** The answer that Enter on an empty line gives, until Backspace takes it away. */
  readonly usual: string | undefined;
  /** What Tab offers for a beginning. */
  complete?(begun: string): Promise<string[]>;
  /** true, or what is wrong with the answer: then it can be edited. */
  check(answer: string): true | string;
}

/** Instead of an answer: the former question is wanted. */
export const BACK = Symbol('back');

interface Key {
  readonly name?: string;
}

/** The terminal's lines are on standard error: the result may go to standard output. */
export class Questioner {
  private readonly lines: Interface;
  private question: LineQuestion | undefined;
  private usual: string | undefined;
  /** Typed, or pasted, before their question stood there. */
  private readonly ahead: string[] = [];
  private settle: ((answer: string | typeof BACK | Error) => void) | undefined;
  private readonly onKey = (_: unknown, key: Key | undefined) => this.pressed(key?.name);

  constructor() {
    this.lines = createInterface({
      input: process.stdin,
      output: process.stderr,
      terminal: true,
      historySize: 0,
      completer: (begun: string, done: (error: Error | null, found: [string[], string]) => void) =>
        void this.candidates(begun).then(found => done(null, [found, begun])),
    });
    this.lines.on('line', line => this.entered(line));
    this.lines.on('close', () => this.finish(new VmError('nothing was written')));
    // Before the editor sees it: the line is what it was without this key.
    process.stdin.prependListener('keypress', this.onKey);
  }

  ask(question: LineQuestion): Promise<string | typeof BACK> {
    this.question = question;
    this.usual = question.usual;
    this.prompt('');
    return new Promise((resolve, reject) => {
      this.settle = answer => (answer instanceof Error ? reject(answer) : resolve(answer));
      const line = this.ahead.shift();
      if (line !== undefined) this.entered(line);
    });
  }

  close(): void {
    process.stdin.off('keypress', this.onKey);
    this.lines.close();
  }

  /** text: what can be edited. */
  private prompt(text: string): void {
    const usual = this.usual ? chalk.dim(` (${this.usual})`) : '';
    this.lines.setPrompt(`${chalk.green('?')} ${this.question?.text}${usual} `);
    this.lines.prompt();
    if (text !== '') this.lines.write(text);
  }

  private entered(line: string): void {
    const { question } = this;
    if (!question || !this.settle) return void this.ahead.push(line);
    const answer = line === '' ? (this.usual ?? '') : line;
    const verdict = question.check(answer);
    if (verdict === true) return this.finish(answer);
    process.stderr.write(`${chalk.red('>')} ${verdict}\n`);
    this.prompt(line);
  }

  private pressed(key: string | undefined): void {
    if (!this.settle) return;
    if (key === 'up') {
      process.stderr.write('\n');
      // Nothing of the line is left for the question that follows.
      this.lines.write(null, { ctrl: true, name: 'e' });
      this.lines.write(null, { ctrl: true, name: 'u' });
      return this.finish(BACK);
    }
    if (key !== 'backspace' || this.lines.line !== '' || !this.usual) return;
    this.usual = undefined;
    this.prompt('');
  }

  private async candidates(begun: string): Promise<string[]> {
    if (begun === '' && this.usual) return [this.usual];
    return (await this.question?.complete?.(begun)) ?? [];
  }

  private finish(answer: string | typeof BACK | Error): void {
    const { settle } = this;
    this.settle = undefined;
    settle?.(answer);
  }
}
