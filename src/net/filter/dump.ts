/**
 * filter-dump: each frame that comes by, in a pcap file, at the time when it comes by; COLO holds
 * the guest's output behind it. A disk that is full or slow costs records, which are counted; the
 * file stays a whole one.
 */
import { asVmError } from '../../base/errors.js';
import type { Clock, OpenFile } from '../../host/ports.js';
import type { Direction, FilterInfo, NetFilter, FilterVerdict } from '../contract.js';
import { pcapHeader, pcapRecord } from '../packet/pcap.js';

const MAX_PENDING_BYTES = 4 << 20;

export class Dump implements NetFilter {
  dropped = 0;
  written = 0;
  private enabled = true;
  private queue: Buffer[] = [];
  private queuedBytes = 0;
  private writing: Promise<void> | undefined;
  private failed = false;
  private disposed = false;
  /** Set by dispose: settles when the file is whole and closed. */
  closed: Promise<void> | undefined;

  /** at: where the next record goes; the header is there. */
  private constructor(
    readonly name: string,
    readonly direction: Direction | 'all',
    private readonly file: OpenFile,
    private readonly maxlen: number,
    private readonly ports: { clock: Clock; note: (line: string) => void },
    private at: number,
  ) {}

  static async create(
    name: string,
    direction: Direction | 'all',
    file: OpenFile,
    maxlen: number,
    ports: { clock: Clock; note: (line: string) => void },
  ): Promise<Dump> {
    const header = pcapHeader(maxlen);
    try {
      await file.truncate(0);
      await file.pwrite(header, 0);
    } catch (error) {
      await file.close().catch(() => undefined);
      throw error;
    }
    return new Dump(name, direction, file, maxlen, ports, header.length);
  }

  attach(): void {}

  get on(): boolean {
    return this.enabled;
  }

  take(): FilterVerdict {
    return 'pass';
  }

  seen(frame: Uint8Array): void {
    if (this.disposed || this.queuedBytes + frame.length > MAX_PENDING_BYTES) {
      this.dropped++;
      return;
    }
    const record = pcapRecord(frame, this.ports.clock.wallMs(), this.maxlen);
    this.queue.push(record);
    this.queuedBytes += record.length;
    this.writing ??= this.drain();
  }

  setOn(on: boolean): void {
    this.enabled = on;
  }

  /** What is queued is still written. */
  dispose(): void {
    if (this.disposed) return;
    this.disposed = true;
    this.closed = (this.writing ?? Promise.resolve())
      .then(() => this.file.close())
      .catch((error: unknown) => this.complain(error));
  }

  info(): FilterInfo {
    return {
      name: this.name,
      type: 'filter-dump',
      direction: this.direction,
      status: this.enabled ? 'on' : 'off',
      properties: {
        file: this.file.path,
        maxlen: this.maxlen,
        written: this.written,
        dropped: this.dropped,
      },
    };
  }

  /** Records that could not be written are cut off again: the next ones begin where they began. */
  private async drain(): Promise<void> {
    while (this.queue.length > 0) {
      const records = this.queue.splice(0);
      const bytes = Buffer.concat(records);
      try {
        await this.file.pwrite(bytes, this.at);
        this.at += bytes.length;
        this.written += records.length;
      } catch (error) {
        this.dropped += records.length;
        this.complain(error);
        await this.file.truncate(this.at).catch(() => undefined);
      }
      this.queuedBytes -= bytes.length;
    }
    this.writing = undefined;
  }

  private complain(error: unknown): void {
    if (!this.failed)
      this.ports.note(`filter-dump ${this.name}: packets are lost: ${asVmError(error).message}`);
    this.failed = true;
  }
}
