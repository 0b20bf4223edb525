/**
 * A window that changes its width while a line is typed. Some terminals set a wrapped line anew,
 * others leave its rows as they are, and the editor must go up by as many rows as there are before
 * it draws again. The terminal says where its cursor is (DSR 6): its column shows which it did.
 */
import type { Interface } from 'node:readline';
import type { Disposable } from '../../base/disposable.js';
import type { Terminal } from '../../chardev/contract.js';
import type { Clock } from '../../host/ports.js';

const ASK_POSITION = '\x1b[6n';
const position = /^\x1b\[\d+;(\d+)R$/;
/** A terminal that does not answer is one that changes nothing. */
const PATIENCE_MS = 200;

export interface ReflowScreen {
  readonly terminal: Pick<Terminal, 'columns' | 'onResize'>;
  readonly clock: Clock;
  write(text: string): void;
}

export class Reflow implements Disposable {
  private waiting: Disposable | undefined;

  constructor(
    private readonly editor: Interface,
    private readonly screen: ReflowScreen,
    /** May be drawn again. */
    private readonly settled: () => void,
  ) {
    screen.terminal.onResize(() => this.resized());
  }

  /** True: it was the terminal's answer, no key. */
  key(key: string): boolean {
    const column = position.exec(key)?.[1];
    if (column === undefined) return false;
    if (this.waiting) this.answered(Number(column) - 1);
    return true;
  }

  dispose(): void {
    this.waiting?.dispose();
    this.waiting = undefined;
  }

  private resized(): void {
    this.dispose();
    this.waiting = this.screen.clock.timer(PATIENCE_MS, () => this.over());
    this.screen.write(ASK_POSITION);
  }

  /** Where it would be in rows of the new width: then they are of the new width. */
  private answered(column: number): void {
    const { rows, cols } = this.editor.getCursorPos();
    if (column === cols) Object.assign(this.editor, { prevRows: rows });
    this.over();
  }

  private over(): void {
    this.dispose();
    this.settled();
  }
}
