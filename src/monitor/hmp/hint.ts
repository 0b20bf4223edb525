/**
 * The grey words behind the cursor. They are on the screen only while nothing else is written:
 * every key and every message erases them first.
 */
import type { Interface } from 'node:readline';
import type { Terminal } from '../../chardev/contract.js';
import { paint } from './style.js';

export interface Suggestion {
  readonly text: string;
  /** It can be taken as it is; otherwise it only says what is expected. */
  readonly usable: boolean;
}

/** Right, End, Ctrl-F and Ctrl-E, as in other shells. */
const acceptKeys = new Set(['\x1b[C', '\x1bOC', '\x1b[F', '\x1bOF', '\x06', '\x05']);
const MIN_ROOM = 3;

export class Hint {
  private shown: Suggestion | undefined;
  private asked = 0;

  constructor(
    private readonly editor: Interface,
    private readonly terminal: Pick<Terminal, 'columns' | 'colour'>,
    private readonly write: (text: string) => void,
    private readonly suggest: (line: string) => Promise<Suggestion>,
  ) {}

  /**
   * Soon; a later key makes it void. Without colours there is none: it would look like what was
   * typed.
   */
  refresh(): void {
    const turn = ++this.asked;
    const { line } = this.editor;
    if (!this.terminal.colour || line === '' || this.editor.cursor !== line.length) return;
    queueMicrotask(() => {
      if (turn !== this.asked) return;
      this.suggest(line).then(
        suggestion => {
          if (turn === this.asked && this.editor.line === line) this.draw(suggestion);
        },
        () => undefined,
      );
    });
  }

  erase(): void {
    this.asked++;
    if (this.shown) this.write('\x1b[K');
    this.shown = undefined;
  }

  /** True: the key took the hint. */
  accept(key: string): boolean {
    const { shown } = this;
    if (!shown?.usable || !acceptKeys.has(key)) return false;
    this.erase();
    this.editor.write(shown.text);
    this.refresh();
    return true;
  }

  /** Never over the end of the row: what wraps could not be erased from here. */
  private draw(suggestion: Suggestion): void {
    const room = this.terminal.columns - this.editor.getCursorPos().cols - 1;
    const text = suggestion.text.slice(0, Math.max(0, room));
    if (text.length < Math.min(MIN_ROOM, suggestion.text.length) || !/^[\x20-\x7e]+$/.test(text))
      return;
    this.shown = suggestion;
    this.write(`${paint(text, 'grey', this.terminal)}\x1b[${text.length}D`);
  }
}
