/**
 * Output into a file. When it cannot be written, bytes are lost, with one line in the log; the VM
 * is not disturbed.
 */
import { asVmError } from '../base/errors.js';
import type { OpenFile } from '../host/ports.js';
import type { CharBackend, CharEvent } from './contract.js';

const MAX_PENDING_BYTES = 1 << 20;

export class FileChar implements CharBackend {
  readonly connected = true;
  readonly terminal = undefined;
  private pending = 0;
  private tail = Promise.resolve();
  private room: (() => void) | undefined;
  private refused = false;
  private failed = false;
  private disposed = false;

  /** at: offset of the first byte to write. */
  constructor(
    readonly id: string,
    readonly label: string,
    private readonly file: OpenFile,
    private at: number,
    private readonly log: (line: string) => void,
  ) {}

  write(bytes: Uint8Array): boolean {
    if (this.disposed) return true;
    if (this.pending >= MAX_PENDING_BYTES) {
      this.refused = true;
      return false;
    }
    const copy = Buffer.from(bytes);
    const offset = this.at;
    this.at += copy.length;
    this.pending += copy.length;
    this.tail = this.tail.then(() => this.put(copy, offset));
    return true;
  }

  onRoom(fn: () => void): void {
    this.room = fn;
  }

  onEvent(fn: (event: CharEvent) => void): void {
    fn('opened');
  }

  onData(): void {}
  onInputEnd(): void {}
  pause(): void {}
  resume(): void {}
  hangUp(): void {}

  release(): void {
    this.room = undefined;
  }

  dispose(): void {
    if (this.disposed) return;
    this.disposed = true;
    this.tail = this.tail
      .then(() => this.file.close())
      .catch((error: unknown) => this.log(`${this.label}: ${asVmError(error).message}`));
  }

  get closed(): Promise<void> {
    return this.tail;
  }

  private async put(bytes: Buffer, offset: number): Promise<void> {
    try {
      await this.file.pwrite(bytes, offset);
    } catch (error) {
      if (!this.failed) this.log(`${this.label}: output is lost: ${asVmError(error).message}`);
      this.failed = true;
    }
    this.pending -= bytes.length;
    if (!this.refused || this.pending >= MAX_PENDING_BYTES) return;
    this.refused = false;
    this.room?.();
  }
}
