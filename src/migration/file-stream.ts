/**
 * A state file as a stream: written from front to end, made durable by end(); or read, chunk after
 * chunk, as fast as it is taken.
 */
import { VmError, asVmError } from '../base/errors.js';
import type { OpenFile, Stream } from '../host/ports.js';

const READ_BYTES = 1024 * 1024;

export class FileStream implements Stream {
  pending = 0;
  private tail: Promise<void> = Promise.resolve();
  private dataFn: ((bytes: Uint8Array) => void) | undefined;
  private endFn: ((error?: Error) => void) | undefined;
  private paused = false;
  private reading = false;
  private ended = false;
  private closed = false;

  constructor(
    private readonly file: OpenFile,
    private offset: number,
    private readonly direction: 'write' | 'read',
  ) {}

  get peer(): string {
    return this.file.path;
  }

  write(bytes: Uint8Array): Promise<void> {
    // What is said to a file that is read goes nowhere.
    if (this.direction === 'read') return Promise.resolve();
    const at = this.offset;
    this.offset += bytes.length;
    this.pending += bytes.length;
    return (this.tail = this.tail.then(async () => {
      if (this.closed) throw new VmError(`'${this.file.path}' was closed`);
      await this.file.pwrite(bytes, at);
      this.pending -= bytes.length;
    }));
  }

  onData(fn: (bytes: Uint8Array) => void): void {
    this.dataFn = fn;
    if (this.direction === 'read') queueMicrotask(() => void this.read());
  }

  onEnd(fn: (error?: Error) => void): void {
    this.endFn = fn;
  }

  pause(): void {
    this.paused = true;
  }

  resume(): void {
    this.paused = false;
    if (this.direction === 'read') void this.read();
  }

  end(): void {
    if (this.direction === 'read') return;
    this.tail
      .then(() => this.file.fdatasync())
      .then(
        () => this.finish(),
        (error: unknown) => this.finish(asVmError(error)),
      );
  }

  destroy(): void {
    if (this.closed) return;
    this.closed = true;
    this.ended = true;
    this.tail.catch(() => undefined).finally(() => void this.file.close().catch(() => undefined));
  }

  dispose(): void {
    this.destroy();
  }

  private async read(): Promise<void> {
    if (this.reading) return;
    this.reading = true;
    try {
      while (!this.paused && !this.ended) await this.readChunk();
    } catch (error) {
      this.finish(asVmError(error));
    } finally {
      this.reading = false;
    }
  }

  private async readChunk(): Promise<void> {
    const chunk = Buffer.allocUnsafe(READ_BYTES);
    const got = this.file.pread(chunk, this.offset);
    // The promise is only awaited; onEnd reports a failure.
    this.tail = got.then(
      () => undefined,
      () => undefined,
    );
    const n = await got;
    if (this.ended) return;
    if (n === 0) return this.finish();
    this.offset += n;
    this.dataFn?.(chunk.subarray(0, n));
  }

  private finish(error?: Error): void {
    if (this.ended) return;
    this.ended = true;
    this.endFn?.(error);
  }
}
