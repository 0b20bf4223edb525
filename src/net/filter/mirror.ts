/** filter-mirror: a copy of each frame goes to a character device, the frame itself passes. */
import type { CharBackend } from '../../chardev/contract.js';
import type { Direction, FilterInfo, FilterPort, NetFilter, FilterVerdict } from '../contract.js';
import { Outlet } from './outlet.js';

export class Mirror implements NetFilter {
  readonly outlet: Outlet;
  private port: FilterPort | undefined;
  private enabled = true;

  constructor(
    readonly name: string,
    readonly direction: Direction | 'all',
    private readonly outdev: CharBackend,
  ) {
    this.outlet = new Outlet(outdev);
  }

  attach(port: FilterPort): void {
    this.port = port;
  }

  get on(): boolean {
    return this.enabled;
  }

  take(): FilterVerdict {
    return 'pass';
  }

  seen(frame: Uint8Array, direction: Direction): void {
    if (!this.port?.emit(frame, direction, copy => this.outlet.send(copy))) this.outlet.lose();
  }

  setOn(on: boolean): void {
    this.enabled = on;
  }

  dispose(): void {
    this.port = undefined;
  }

  info(): FilterInfo {
    const { sent, dropped } = this.outlet;
    return {
      name: this.name,
      type: 'filter-mirror',
      direction: this.direction,
      status: this.enabled ? 'on' : 'off',
      properties: { outdev: this.outdev.id, sent, dropped },
    };
  }
}
