/**
 * Standard input and output of the process as a channel. End of file on standard input ends nothing
 * but the input.
 */
import type { CharBackend, CharEvent, CharSpec, Stdio, Terminal } from './contract.js';
import { Front } from './front.js';

const CTRL_C = 0x03;

export class StdioChar implements CharBackend {
  readonly label = 'stdio';
  readonly connected = true;
  readonly terminal: Terminal | undefined;
  private readonly front = new Front();
  private full = false;
  private disposed = false;

  constructor(
    readonly id: string,
    private readonly stdio: Stdio,
    private readonly input: Extract<CharSpec, { kind: 'stdio' }>['input'],
  ) {
    this.terminal = input === 'keys' ? stdio.terminal : undefined;
    if (stdio.terminal && !(input === 'lines' || (input === 'keys' && stdio.terminal.dumb)))
      stdio.setMode('raw');
    stdio.onData(bytes => this.arrived(bytes));
    stdio.onEnd(() => this.front.end(() => undefined));
    stdio.onDrain(() => {
      this.full = false;
      this.front.room();
    });
    stdio.pause();
  }

  write(bytes: Uint8Array): boolean {
    if (this.disposed) return true;
    if (this.full) return false;
    this.full = !this.stdio.write(Uint8Array.from(bytes));
    return true;
  }

  onRoom(fn: () => void): void {
    this.front.setRoom(fn);
  }

  onData(fn: (bytes: Uint8Array) => void): void {
    this.front.setData(fn);
    if (this.front.open) this.stdio.resume();
  }

  onEvent(fn: (event: CharEvent) => void): void {
    this.front.setEvent(fn);
    fn('opened');
  }

  onInputEnd(fn: () => void): void {
    this.front.setInputEnd(fn);
  }

  pause(): void {
    this.front.pause();
    this.stdio.pause();
  }

  resume(): void {
    this.front.resume();
    if (this.front.open && !this.disposed) this.stdio.resume();
  }

  /** The terminal belongs to its shell again; it is not closed. */
  hangUp(): void {
    if (this.stdio.terminal) this.stdio.setMode('cooked');
  }

  release(): void {
    this.front.release();
    this.stdio.pause();
  }

  dispose(): void {
    if (this.disposed) return;
    this.disposed = true;
    this.stdio.pause();
    if (this.stdio.terminal) this.stdio.setMode('cooked');
  }

  private arrived(bytes: Uint8Array): void {
    if (this.disposed) return;
    if (this.stdio.terminal && this.input === 'characters' && bytes.includes(CTRL_C))
      this.stdio.interrupt();
    else this.front.deliver(bytes);
  }
}
