/**
 * The output hold: guest output waits here until a checkpoint covers it. Every netdev has one next
 * to its wire, which monitors show as the filter-buffer `nop`, as QEMU has it. Copies that filters
 * make of guest output wait in the same queue. Epochs are marks in the queue, so that frames leave
 * in order. Bounded: at the bound a frame is not taken, and the nic waits; a frame that was taken
 * is never dropped, unless this side has lost.
 */
import type { FilterInfo, OutputHold, FilterVerdict } from '../contract.js';

export interface OutputHoldLimits {
  packets: number;
  bytes: number;
}
export const defaultOutputHoldLimits: OutputHoldLimits = {
  packets: 16384,
  bytes: 64 * 1024 * 1024,
};

export interface OutputHoldPort {
  /** On through the chain; false: no room now, pump() follows when there is. */
  forward(frame: Uint8Array): boolean;
  /** Room again after a frame was refused. */
  onRoom(): void;
  /** This side has lost: nothing leaves any more. */
  onLost?(): void;
}

/** A copy of guest output that leaves by another door than the netdev. */
interface Copy {
  readonly bytes: Buffer;
  readonly sink: (frame: Uint8Array) => void;
}

/**
 * off: frames pass once the queue is empty. holding: they wait for release. lost: nothing leaves
 * any more.
 */
type Mode = 'off' | 'holding' | 'lost';

export class OutputHoldFilter implements OutputHold {
  private mode: Mode = 'off';
  private mayLeave: () => boolean = () => true;
  private began: () => void = () => undefined;
  private queue: (Buffer | Copy)[] = [];
  /** Index in `queue` of the oldest frame. */
  private head = 0;
  private bytes = 0;
  /**
   * Frames numbered since the beginning: this many have left or were dropped; those below
   * `releasable` may leave.
   */
  private gone = 0;
  private releasable = 0;
  private readonly cuts: { epoch: number; end: number }[] = [];
  private refused = false;

  constructor(
    readonly name: string,
    private readonly limits: OutputHoldLimits,
    private readonly port: OutputHoldPort,
  ) {}

  get on(): boolean {
    return this.mode !== 'off' || this.heldPackets > 0;
  }

  get heldPackets(): number {
    return this.queue.length - this.head;
  }

  get waits(): boolean {
    return this.mode === 'holding' && this.end > this.releasable;
  }

  get open(): boolean {
    return this.mode === 'off' || (this.mode === 'holding' && this.mayLeave());
  }

  get heldBytes(): number {
    return this.bytes;
  }

  take(frame: Uint8Array): FilterVerdict {
    if (!this.hasRoom(frame)) return 'full';
    this.append(Buffer.from(frame), frame.length);
    return 'stolen';
  }

  /**
   * A copy goes to its sink when the frame itself would leave; at once while nothing is held.
   * False: no room.
   */
  emit(frame: Uint8Array, sink: (frame: Uint8Array) => void): boolean {
    if (!this.on) {
      sink(frame);
      return true;
    }
    if (!this.hasRoom(frame)) return false;
    this.append({ bytes: Buffer.from(frame), sink }, frame.length);
    return true;
  }

  hold(mayLeave: () => boolean, began: () => void = () => undefined): void {
    this.mode = 'holding';
    this.mayLeave = mayLeave;
    this.began = began;
    this.cuts.length = 0;
  }

  cut(epoch: number): void {
    this.cuts.push({ epoch, end: this.end });
  }

  release(epoch: number): void {
    if (this.mode !== 'holding') return;
    while (this.cuts.length > 0 && this.cuts[0].epoch <= epoch)
      this.releasable = Math.max(this.releasable, this.cuts.shift()!.end);
    this.pump();
  }

  releaseAll(): void {
    this.mode = 'off';
    this.mayLeave = () => true;
    this.cuts.length = 0;
    this.releasable = this.end;
    this.pump();
  }

  drop(): void {
    this.mode = 'lost';
    this.gone += this.heldPackets;
    this.releasable = this.gone;
    this.queue = [];
    this.head = 0;
    this.bytes = 0;
    this.cuts.length = 0;
    this.port.onLost?.();
  }

  /**
   * What may leave leaves, while there is room behind and the gate is open: it is asked for every
   * single frame.
   */
  pump(): void {
    while (this.gone < this.releasable && this.mayLeave()) {
      if (!this.leave(this.queue[this.head])) break;
      this.shift();
    }
    if (
      !this.refused ||
      this.mode === 'lost' ||
      this.heldPackets >= this.limits.packets ||
      this.bytes >= this.limits.bytes
    )
      return;
    this.refused = false;
    this.port.onRoom();
  }

  info(): FilterInfo {
    return {
      name: this.name,
      type: 'filter-buffer',
      direction: 'rx',
      status: this.mode === 'off' ? 'off' : 'on',
      properties: { interval: 0, packets: this.heldPackets, bytes: this.bytes },
    };
  }

  private hasRoom(frame: Uint8Array): boolean {
    const full =
      this.heldPackets >= this.limits.packets ||
      (this.heldPackets > 0 && this.bytes + frame.length > this.limits.bytes);
    const room = this.mode !== 'lost' && !full;
    if (!room) this.refused = true;
    return room;
  }

  private append(held: Buffer | Copy, length: number): void {
    this.queue.push(held);
    this.bytes += length;
    if (this.mode === 'off') this.releasable = this.end;
    else if (this.waits && this.end === this.releasable + 1) this.began();
  }

  private leave(held: Buffer | Copy): boolean {
    if (!('sink' in held)) return this.port.forward(held);
    held.sink(held.bytes);
    return true;
  }

  private get end(): number {
    return this.gone + this.heldPackets;
  }

  private shift(): void {
    const held = this.queue[this.head];
    this.bytes -= 'sink' in held ? held.bytes.length : held.length;
    this.queue[this.head++] = undefined as unknown as Buffer;
    this.gone++;
    if (this.head * 2 <= this.queue.length && this.head < 1024) return;
    this.queue = this.queue.slice(this.head);
    this.head = 0;
  }
}
