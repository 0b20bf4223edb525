/** A channel whose peer is the test. */
import type { CharBackend, CharEvent, Terminal } from '../../src/chardev/contract.js';

export class FakeChar implements CharBackend {
  readonly id = 'fake';
  readonly terminal: Terminal | undefined = undefined;
  connected = false;
  paused = false;
  hungUp = 0;
  /** What arrived at the peer. */
  output = '';
  /** False: the peer does not read. */
  reading = true;
  private data: (bytes: Uint8Array) => void = () => undefined;
  private event: (event: CharEvent) => void = () => undefined;
  private inputEnd: () => void = () => undefined;
  private room: () => void = () => undefined;

  constructor(readonly label = 'fake') {}

  write(bytes: Uint8Array): boolean {
    if (!this.reading) return false;
    this.output += Buffer.from(bytes).toString();
    return true;
  }

  onRoom(fn: () => void): void {
    this.room = fn;
  }

  onData(fn: (bytes: Uint8Array) => void): void {
    this.data = fn;
  }

  onEvent(fn: (event: CharEvent) => void): void {
    this.event = fn;
  }

  onInputEnd(fn: () => void): void {
    this.inputEnd = fn;
  }

  pause(): void {
    this.paused = true;
  }

  resume(): void {
    this.paused = false;
  }

  hangUp(): void {
    this.hungUp++;
  }

  release(): void {
    this.data = this.event = this.inputEnd = this.room = () => undefined;
  }

  dispose(): void {}

  connect(): void {
    this.connected = true;
    this.event('opened');
  }

  disconnect(): void {
    this.connected = false;
    this.event('closed');
  }

  type(text: string | Uint8Array): void {
    this.data(typeof text === 'string' ? Buffer.from(text) : text);
  }

  endInput(): void {
    this.inputEnd();
  }

  startReading(): void {
    this.reading = true;
    this.room();
  }

  /** The messages since the last call. */
  take(): Record<string, unknown>[] {
    const lines = this.output.split('\r\n').filter(line => line !== '');
    this.output = '';
    return lines.map(line => JSON.parse(line) as Record<string, unknown>);
  }
}

/** Lets everything run that waits for nothing. */
export async function settle(): Promise<void> {
  await new Promise(resolve => setImmediate(resolve));
}
