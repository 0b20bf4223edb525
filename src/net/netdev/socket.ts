/**
 * A netdev whose wire is a stream socket to one peer, as QEMU's `-netdev socket`: each frame behind
 * its length. Without a peer the cable is out. A peer that does not read may be busy: frames wait
 * for it a while, then they are dropped until it reads.
 */
import { asVmError } from '../../base/errors.js';
import type { CharBackend } from '../../chardev/contract.js';
import type { Clock } from '../../host/ports.js';
import { FrameReader, isFrame, onStream } from '../packet/frame-stream.js';
import type { Wire } from './wired.js';
import { WiredNetdev } from './wired.js';

const PATIENCE_MS = 1000;

class SocketWire implements Wire {
  readonly type = 'socket';
  private readonly reader = new FrameReader();
  private frame: (frame: Uint8Array) => void = () => undefined;
  private stalledMs: number | undefined;
  private dropped = 0;

  constructor(
    private readonly chr: CharBackend,
    private readonly clock: Clock,
    private readonly note: (line: string) => void,
  ) {
    chr.onEvent(() => {
      this.reader.reset();
      this.stalledMs = undefined;
    });
    chr.onRoom(() => (this.stalledMs = undefined));
    chr.onData(bytes => this.arrived(bytes));
  }

  properties() {
    return {
      socket: this.chr.label,
      peer: this.chr.connected ? 'yes' : 'no',
      dropped: this.dropped,
    };
  }

  onFrame(fn: (frame: Uint8Array) => void): void {
    this.frame = fn;
  }

  write(frame: Uint8Array): boolean {
    if (!this.chr.connected) return true;
    if (this.chr.write(onStream(frame))) return true;
    this.stalledMs ??= this.clock.nowMs();
    if (this.clock.nowMs() - this.stalledMs < PATIENCE_MS) return false;
    this.dropped++;
    return true;
  }

  pause(): void {
    this.chr.pause();
  }

  resume(): void {
    this.chr.resume();
  }

  dispose(): void {
    this.chr.dispose();
  }

  private arrived(bytes: Uint8Array): void {
    try {
      this.reader.push(bytes);
      for (let next = this.reader.next(); next; next = this.reader.next())
        if (isFrame(next)) this.frame(next);
    } catch (error) {
      this.note(`${this.chr.label}: ${asVmError(error).message}`);
      this.reader.reset();
      this.chr.hangUp();
    }
  }
}

export class SocketNetdev extends WiredNetdev {
  constructor(id: string, chr: CharBackend, clock: Clock, note: (line: string) => void) {
    super(id, new SocketWire(chr, clock, note), clock);
  }
}
