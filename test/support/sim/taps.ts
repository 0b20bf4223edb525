/** The taps of a simulated host: what is written to one has left the host. */
import type { Tap, Taps } from '../../../src/host/ports.js';
import type { SimNode } from './node.js';

export class SimTap implements Tap {
  /** Nothing is taken. */
  full = false;
  closed = false;
  /** Frames wait in the kernel until the process wants them. */
  private readonly waiting: Buffer[] = [];
  private held = false;
  private listener: (frame: Uint8Array) => void = () => undefined;

  constructor(
    private readonly node: SimNode,
    readonly ifname: string,
    /** A frame leaves; false: it is not taken. */
    private readonly leaves: (frame: Uint8Array) => boolean,
  ) {}

  /** A frame comes from the network. */
  arrive(frame: Uint8Array): void {
    this.waiting.push(Buffer.from(frame));
    this.node.deliver('input', () => this.flow());
  }

  onFrame(fn: (frame: Uint8Array) => void): void {
    this.listener = fn;
  }

  write(frame: Uint8Array): boolean {
    if (this.node.dead) return true;
    return !this.full && this.leaves(frame);
  }

  pause(): void {
    this.held = true;
  }

  resume(): void {
    this.held = false;
    this.node.world.after(0, () => this.node.deliver('input', () => this.flow()));
  }

  dispose(): void {
    this.closed = true;
  }

  private flow(): void {
    while (!this.held && !this.closed && this.waiting.length > 0)
      this.listener(this.waiting.shift()!);
  }
}

export class SimTaps implements Taps {
  readonly opened: SimTap[] = [];
  /** A frame leaves by the tap of that number; false: it is not taken. */
  leaves: (tap: number, frame: Uint8Array) => boolean = () => true;

  constructor(private readonly node: SimNode) {}

  open(ifname = 'tap%d'): SimTap {
    const n = this.opened.length;
    const tap = new SimTap(this.node, ifname.replace('%d', String(n)), frame =>
      this.leaves(n, frame),
    );
    this.opened.push(tap);
    return tap;
  }
}
