/** What one device or monitor sees of a shared channel (mux.ts). */
import type { CharBackend, CharEvent, SharedTerminal, Terminal } from './contract.js';
import { Front } from './front.js';

/** console: of the guest. monitor: of the VM; it has a part of the terminal's time only. */
export type MuxRole = 'console' | 'monitor';

/**
 * Input that a front end has not taken: more is dropped, for the keyboard must reach the monitor in
 * any case.
 */
const MAX_KEPT_INPUT = 64 << 10;
/** Of the line that a console has begun. */
const MAX_PARTIAL = 1024;

export interface MuxOwner {
  /** False: no room, nothing was taken. */
  output(from: MuxFront, bytes: Uint8Array): boolean;
  /** The monitor hung up: it is over until it has the focus again. */
  left(front: MuxFront): void;
  bell(): void;
}

export class MuxFront implements CharBackend {
  readonly terminal: Terminal | undefined;
  /** Of a console: what it printed since its last line end. */
  partial = '';
  /** Of a monitor that edits lines: prints what others say. */
  tellAside: ((text: string) => void) | undefined;
  private readonly ends = new Front();
  private keptInput = 0;
  private over = false;
  private focusListener: (focused: boolean) => void = () => undefined;
  private breakListener: () => void = () => undefined;

  constructor(
    private readonly mux: MuxOwner,
    readonly role: MuxRole,
    private readonly base: CharBackend,
  ) {
    this.terminal = base.terminal && role === 'monitor' ? this.share(base.terminal) : undefined;
  }

  get id(): string {
    return this.base.id;
  }

  get label(): string {
    return this.base.label;
  }

  get connected(): boolean {
    return this.base.connected;
  }

  write(bytes: Uint8Array): boolean {
    return this.mux.output(this, bytes);
  }

  onRoom(fn: () => void): void {
    this.ends.setRoom(fn);
  }

  onData(fn: (bytes: Uint8Array) => void): void {
    this.ends.setData(bytes => {
      this.keptInput = Math.max(0, this.keptInput - bytes.length);
      fn(bytes);
    });
  }

  onEvent(fn: (event: CharEvent) => void): void {
    this.ends.setEvent(fn);
    if (this.connected) fn('opened');
  }

  onInputEnd(fn: () => void): void {
    this.ends.setInputEnd(fn);
  }

  onBreak(fn: () => void): void {
    this.breakListener = fn;
  }

  pause(): void {
    this.ends.pause();
  }

  resume(): void {
    this.ends.resume();
  }

  hangUp(): void {
    if (this.role !== 'monitor') return;
    this.over = true;
    this.mux.left(this);
  }

  /** It has this front end for good. */
  release(): void {}

  /** The channel is the owner's. */
  dispose(): void {}

  // --- the owner's side

  input(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    if (this.keptInput + bytes.length > MAX_KEPT_INPUT) return this.mux.bell();
    this.keptInput += bytes.length;
    this.ends.deliver(bytes);
  }

  inputEnded(): void {
    this.ends.end(() => undefined);
  }

  sendBreak(): void {
    this.breakListener();
  }

  room(): void {
    this.ends.room();
  }

  event(event: CharEvent): void {
    this.keptInput = 0;
    this.ends.event(event);
  }

  focusChanged(focused: boolean): void {
    if (!focused || !this.over) return this.focusListener(focused);
    this.over = false;
    this.event('opened');
  }

  /**
   * Keeps the line that has begun; gives the lines that this text completes. One that is too long
   * is not waited for.
   */
  wholeLines(text: string): string {
    const all = this.partial + text;
    const end = all.lastIndexOf('\n') + 1;
    this.partial = all.slice(end);
    if (this.partial.length <= MAX_PARTIAL) return all.slice(0, end);
    this.partial = '';
    return `${all}\n`;
  }

  private share(terminal: Terminal): Terminal {
    const shared: SharedTerminal = {
      onFocus: fn => void (this.focusListener = fn),
      onAside: fn => void (this.tellAside = fn),
    };
    return {
      get columns() {
        return terminal.columns;
      },
      get rows() {
        return terminal.rows;
      },
      colour: terminal.colour,
      dumb: terminal.dumb,
      ascii: terminal.ascii,
      onResize: fn => terminal.onResize(fn),
      shared,
    };
  }
}
