/**
 * Frames that enter a chain at a filter, in the filter's directions: one at a time, and no next one
 * before the last found room.
 */
import type { Direction, FilterPort } from '../contract.js';

export class Injector {
  private port: FilterPort | undefined;
  private sending = false;
  private readonly waiting: { rx?: Buffer; tx?: Buffer } = {};

  constructor(private readonly direction: Direction | 'all') {}

  attach(port: FilterPort): void {
    this.port = port;
  }

  get busy(): boolean {
    return this.sending || this.waiting.rx !== undefined || this.waiting.tx !== undefined;
  }

  /** Only while it is not busy. */
  send(frame: Uint8Array): void {
    for (const direction of ['tx', 'rx'] as const) {
      if (this.direction !== 'all' && this.direction !== direction) continue;
      if (!this.forward(frame, direction)) this.waiting[direction] = Buffer.from(frame);
    }
  }

  /** There is room again. */
  pump(direction: Direction): void {
    const frame = this.waiting[direction];
    if (frame && !this.sending && this.forward(frame, direction))
      this.waiting[direction] = undefined;
  }

  /**
   * The receiver may say that it has room while it is taking a frame: the next one is not sent from
   * there.
   */
  private forward(frame: Uint8Array, direction: Direction): boolean {
    this.sending = true;
    const taken = this.port?.forward(frame, direction) ?? true;
    this.sending = false;
    return taken;
  }
}
