/**
 * filter-replay: the frames of a pcap file enter the chain here, as far apart as they were
 * recorded. Each waits until there is room for it, and those after it wait too. Toward the world
 * they wait in the output hold like any output.
 */
import type { Disposable } from '../../base/disposable.js';
import { asVmError, VmError } from '../../base/errors.js';
import type { Clock, OpenFile } from '../../host/ports.js';
import type { Direction, FilterInfo, FilterPort, NetFilter, FilterVerdict } from '../contract.js';
import { FRAME_BYTES_MAX } from '../packet/ethernet.js';
import { isFrame } from '../packet/frame-stream.js';
import {
  PCAP_HEADER_BYTES,
  PCAP_RECORD_HEADER_BYTES,
  readPcapHeader,
  readPcapRecord,
  type PcapFormat,
} from '../packet/pcap.js';
import { Injector } from './injector.js';

/** A pause of days in a recording is no reason to sit there for days. */
const LONGEST_PAUSE_MS = 3_600_000;

interface Record {
  readonly ms: number;
  readonly frame: Buffer;
  /** Where the next one begins. */
  readonly end: number;
}

export class Replay implements NetFilter {
  replayed = 0;
  done = false;
  private readonly injector: Injector;
  private enabled = false;
  private disposed = false;
  private at = PCAP_HEADER_BYTES;
  private previousMs: number | undefined;
  private next: Record | undefined;
  private reading = false;
  private timer: Disposable | undefined;

  private constructor(
    readonly name: string,
    readonly direction: Direction | 'all',
    private readonly file: OpenFile,
    private readonly format: PcapFormat,
    private readonly ports: { clock: Clock; note: (line: string) => void },
  ) {
    this.injector = new Injector(direction);
  }

  static async create(
    name: string,
    direction: Direction | 'all',
    file: OpenFile,
    ports: { clock: Clock; note: (line: string) => void },
  ): Promise<Replay> {
    try {
      return new Replay(
        name,
        direction,
        file,
        readPcapHeader(await readAt(file, 0, PCAP_HEADER_BYTES)),
        ports,
      );
    } catch (error) {
      await file.close().catch(() => undefined);
      throw asVmError(error).during(`filter-replay: ${file.path}`);
    }
  }

  attach(port: FilterPort): void {
    this.injector.attach(port);
  }

  get on(): boolean {
    return this.enabled;
  }

  take(): FilterVerdict {
    return 'pass';
  }

  pump(direction: Direction): void {
    this.injector.pump(direction);
    this.goOn();
  }

  /** Off: it pauses, and continues from the same frame. */
  setOn(on: boolean): void {
    this.enabled = on;
    this.goOn();
  }

  dispose(): void {
    if (this.disposed) return;
    this.disposed = true;
    this.timer?.dispose();
    if (!this.reading) this.close();
  }

  info(): FilterInfo {
    return {
      name: this.name,
      type: 'filter-replay',
      direction: this.direction,
      status: this.enabled ? 'on' : 'off',
      properties: { file: this.file.path, replayed: this.replayed, done: this.done ? 'yes' : 'no' },
    };
  }

  /** Reads one record ahead, waits for its time, sends it when there is room. */
  private goOn(): void {
    if (
      this.disposed ||
      !this.enabled ||
      this.done ||
      this.reading ||
      this.timer ||
      this.injector.busy
    )
      return;
    if (!this.next) return void this.fetch();
    const pauseMs = Math.min(
      LONGEST_PAUSE_MS,
      Math.max(0, this.next.ms - (this.previousMs ?? this.next.ms)),
    );
    this.timer = this.ports.clock.timer(pauseMs, () => this.play());
  }

  private play(): void {
    this.timer = undefined;
    const { next } = this;
    if (!next || !this.enabled) return;
    this.next = undefined;
    this.previousMs = next.ms;
    this.at = next.end;
    if (isFrame(next.frame)) this.injector.send(next.frame);
    this.replayed++;
    this.goOn();
  }

  private async fetch(): Promise<void> {
    this.reading = true;
    try {
      this.next = await this.readRecord();
      this.done = this.next === undefined;
    } catch (error) {
      this.done = true;
      this.ports.note(`filter-replay ${this.name}: ${this.file.path}: ${asVmError(error).message}`);
    }
    this.reading = false;
    if (this.disposed) this.close();
    else this.goOn();
  }

  /** undefined: the end of the file. */
  private async readRecord(): Promise<Record | undefined> {
    const head = await readAt(this.file, this.at, PCAP_RECORD_HEADER_BYTES);
    if (head.length === 0) return undefined;
    if (head.length < PCAP_RECORD_HEADER_BYTES)
      throw new VmError(`the record at offset ${this.at} is cut off`);
    const { ms, captured } = readPcapRecord(head, this.format);
    if (captured > FRAME_BYTES_MAX)
      throw new VmError(
        `the record at offset ${this.at} has ${captured} bytes; a frame has at most ` +
          `${FRAME_BYTES_MAX}`,
      );
    const frame = await readAt(this.file, this.at + PCAP_RECORD_HEADER_BYTES, captured);
    if (frame.length < captured) throw new VmError(`the record at offset ${this.at} is cut off`);
    return { ms, frame, end: this.at + PCAP_RECORD_HEADER_BYTES + captured };
  }

  private close(): void {
    this.file
      .close()
      .catch((error: unknown) =>
        this.ports.note(`filter-replay ${this.name}: ${asVmError(error).message}`),
      );
  }
}

async function readAt(file: OpenFile, offset: number, length: number): Promise<Buffer> {
  const buffer = Buffer.alloc(length);
  return buffer.subarray(0, await file.pread(buffer, offset));
}
