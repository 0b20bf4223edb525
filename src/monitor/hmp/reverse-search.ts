/**
 * Ctrl-R: the newest earlier line that holds what is typed; Ctrl-R again goes further back, Enter
 * runs it, Ctrl-G gives up, others edit it.
 */
import type { Interface } from 'node:readline';
import { ctrl } from './keys.js';

const backspace = ['\x7f', '\b'];

export class ReverseSearch {
  private query: string | undefined;
  private found = '';
  private skip = 0;
  private before = '';

  constructor(
    private readonly editor: Interface,
    private readonly prompt: string,
    private readonly past: () => readonly string[],
  ) {}

  get active(): boolean {
    return this.query !== undefined;
  }

  begin(): void {
    this.before = this.editor.line;
    this.found = '';
    this.query = '';
    this.skip = 0;
    this.show();
  }

  /** False: the search is over, and the key is for the editor. */
  key(key: string): boolean {
    if (this.query === undefined) return false;
    if (key === ctrl.g) {
      this.cancel();
      return true;
    }
    if (key === ctrl.r) this.skip++;
    else if (backspace.includes(key)) this.change(this.query.slice(0, -1));
    else if (key.length === 1 && key >= ' ') this.change(this.query + key);
    else {
      this.end(this.found === '' ? this.before : this.found);
      return false;
    }
    this.show();
    return true;
  }

  cancel(): void {
    if (this.active) this.end(this.before);
  }

  private change(query: string): void {
    this.query = query;
    this.skip = 0;
  }

  private show(): void {
    const { query = '' } = this;
    const matches = query === '' ? [] : this.past().filter(line => line.includes(query));
    this.skip = Math.min(this.skip, Math.max(0, matches.length - 1));
    const found = matches[this.skip];
    const failed = query !== '' && found === undefined;
    this.found = found ?? '';
    this.editor.setPrompt(`(${failed ? 'failed ' : ''}reverse-i-search)'${query}': `);
    this.line(this.found);
  }

  private end(line: string): void {
    this.query = undefined;
    this.editor.setPrompt(this.prompt);
    this.line(line);
  }

  private line(text: string): void {
    this.editor.write(null, { ctrl: true, name: 'e' });
    this.editor.write(null, { ctrl: true, name: 'u' });
    if (text !== '') this.editor.write(text);
  }
}
