/**
 * A nic's other end, whatever the wire behind it: link, filters, output hold, and flow control.
 * Bounded both ways: what the wire does not take stays with the filters or the guest, what the
 * guest does not take stays with the wire.
 */
import type { Disposable } from '../../base/disposable.js';
import { BoundedQueue } from '../../base/queue.js';
import { event, tracer } from '../../base/trace.js';
import type { Clock } from '../../host/ports.js';
import type { Direction, Forwards, NetdevInfo, Netdev, NicPort } from '../contract.js';
import { FilterChain } from '../filter/chain.js';
import {
  type OutputHoldLimits,
  OutputHoldFilter,
  defaultOutputHoldLimits,
} from '../filter/output-hold.js';
import { FRAME_BYTES_MAX, rarpAnnounce } from '../packet/ethernet.js';

const trace = tracer('net', {
  rx_dropped: event<{ netdev: string; length: number }>(),
  tx_dropped: event<{ netdev: string; length: number }>(),
  link: event<{ netdev: string; up: boolean }>(),
});

/** Frames for the guest that arrive before the wire notices that we paused it. */
const INBOUND_MAX = 256;
/** A wire does not say when it has room again. */
const RETRY_MS = 2;

/** What carries the frames. */
export interface Wire {
  readonly type: string;
  /** For `info network`. */
  properties(): NetdevInfo['properties'];
  onFrame(fn: (frame: Uint8Array) => void): void;
  /** False: no room, the frame was not taken. */
  write(frame: Uint8Array): boolean;
  /** Back-pressure: no frames until resume. */
  pause(): void;
  resume(): void;
  /** The guest runs here and may talk. Called again after each stop. */
  begin?(): void;
  /** The guest does not talk from here any more. */
  lost?(): void;
  dispose(): void;
}

export class WiredNetdev implements Netdev {
  readonly forwards?: Forwards;
  readonly outputHold: OutputHoldFilter;
  readonly filters: FilterChain;
  private readonly inbound = new BoundedQueue<Buffer>(INBOUND_MAX);
  private waiting: Buffer | undefined;
  private nic: NicPort | undefined;
  private room: () => void = () => undefined;
  private refused = false;
  private retry: Disposable | undefined;
  private running = false;
  private paused = false;
  private linkUp = true;

  constructor(
    readonly id: string,
    private readonly wire: Wire,
    private readonly clock: Clock,
    limits: OutputHoldLimits = defaultOutputHoldLimits,
  ) {
    this.outputHold = new OutputHoldFilter('nop', limits, {
      forward: frame => this.toWorld(frame),
      onRoom: () => this.filters.room('rx'),
      onLost: () => this.wire.lost?.(),
    });
    this.filters = new FilterChain({
      toWorld: frame =>
        this.outputHold.on ? this.outputHold.take(frame) === 'stolen' : this.toWorld(frame),
      toGuest: frame => this.toGuest(frame),
      emit: (frame, sink) => this.outputHold.emit(frame, sink),
      room: direction => this.hasRoom(direction),
    });
    wire.onFrame(frame => this.fromWire(frame));
    this.flowControl();
  }

  get type(): string {
    return this.wire.type;
  }

  send(frame: Uint8Array): boolean {
    if (!this.linkUp || frame.length === 0 || frame.length > FRAME_BYTES_MAX) {
      trace.tx_dropped?.({ netdev: this.id, length: frame.length });
      return true;
    }
    const taken = this.filters.send(frame, 'rx');
    if (!taken) this.refused = true;
    return taken;
  }

  onRoom(fn: () => void): void {
    this.room = fn;
  }

  attachNic(nic: NicPort): void {
    this.nic = nic;
  }

  nicReady(): void {
    this.filters.room('tx');
  }

  setRunning(running: boolean): void {
    this.running = running;
    if (running && this.outputHold.open) this.wire.begin?.();
    if (running) this.filters.room('tx');
    else this.flowControl();
  }

  setLink(up: boolean): void {
    this.linkUp = up;
    trace.link?.({ netdev: this.id, up });
  }

  announce(): void {
    if (!this.nic || !this.outputHold.open) return;
    // Past the filters: this is about where the guest is, not what it says.
    if (this.linkUp) this.wire.write(rarpAnnounce(this.nic.mac));
    this.nic.announce();
  }

  info(): NetdevInfo {
    const mac =
      this.nic &&
      Buffer.from(this.nic.mac)
        .toString('hex')
        .replace(/..(?=.)/g, '$&:');
    return {
      id: this.id,
      type: this.type,
      link: this.linkUp ? 'up' : 'down',
      properties: this.wire.properties(),
      mac,
      filters: [this.outputHold.info(), ...this.filters.info()],
    };
  }

  /** What is still held somewhere goes nowhere. */
  dispose(): void {
    this.linkUp = false;
    this.retry?.dispose();
    this.wire.dispose();
  }

  private toWorld(frame: Uint8Array): boolean {
    if (!this.linkUp) return true;
    if (this.retry) return false;
    if (this.wire.write(frame)) return true;
    this.retry = this.clock.timer(RETRY_MS, () => this.tryAgain());
    return false;
  }

  private tryAgain(): void {
    this.retry = undefined;
    this.outputHold.pump();
    if (!this.retry) this.filters.room('rx');
  }

  private hasRoom(direction: Direction): void {
    if (direction === 'tx') {
      this.drain();
      this.flowControl();
    } else if (this.refused) {
      this.refused = false;
      this.room();
    }
  }

  private fromWire(frame: Uint8Array): void {
    if (!this.linkUp) return;
    if (!this.inbound.push(Buffer.from(frame)))
      trace.rx_dropped?.({ netdev: this.id, length: frame.length });
    this.drain();
    this.flowControl();
  }

  /** Frames go to the guest while it runs and takes them; the first that it refuses waits here. */
  private drain(): void {
    while (this.running && this.linkUp) {
      this.waiting ??= this.inbound.shift();
      if (!this.waiting || !this.filters.send(this.waiting, 'tx')) return;
      this.waiting = undefined;
    }
  }

  private toGuest(frame: Uint8Array): boolean {
    return !this.linkUp || !this.nic || this.nic.receive(frame);
  }

  private flowControl(): void {
    const pause = !this.running || this.waiting !== undefined;
    if (pause === this.paused) return;
    this.paused = pause;
    if (pause) this.wire.pause();
    else this.wire.resume();
  }
}
