/**
 * filter-redirector: frames leave the chain to outdev, and what comes from indev enters it here and
 * passes on. While the guest has no receive buffers indev waits, and so does its peer. What
 * comes from indev toward the world waits in the output hold like any output.
 */
import { asVmError } from '../../base/errors.js';
import type { CharBackend } from '../../chardev/contract.js';
import type { Direction, FilterInfo, FilterPort, NetFilter, FilterVerdict } from '../contract.js';
import { FrameReader, isFrame } from '../packet/frame-stream.js';
import { Injector } from './injector.js';
import { Outlet } from './outlet.js';

export class Redirector implements NetFilter {
  readonly outlet: Outlet | undefined;
  private readonly injector: Injector;
  private readonly reader = new FrameReader();
  private port: FilterPort | undefined;
  private enabled = true;
  received = 0;

  constructor(
    readonly name: string,
    readonly direction: Direction | 'all',
    private readonly chardevs: { readonly indev?: CharBackend; readonly outdev?: CharBackend },
    private readonly note: (line: string) => void,
  ) {
    this.outlet = chardevs.outdev && new Outlet(chardevs.outdev);
    this.injector = new Injector(direction);
  }

  attach(port: FilterPort): void {
    this.port = port;
    this.injector.attach(port);
    const { indev } = this.chardevs;
    indev?.onEvent(() => this.reader.reset());
    indev?.onData(bytes => {
      this.reader.push(bytes);
      this.inject();
    });
  }

  get on(): boolean {
    return this.enabled;
  }

  take(frame: Uint8Array, direction: Direction): FilterVerdict {
    const { outlet } = this;
    if (!outlet) return 'pass';
    return this.port?.emit(frame, direction, copy => outlet.send(copy)) ? 'stolen' : 'full';
  }

  pump(direction: Direction): void {
    this.injector.pump(direction);
    this.inject();
  }

  /** Off: frames go past, and indev is not read. */
  setOn(on: boolean): void {
    this.enabled = on;
    this.inject();
  }

  dispose(): void {
    this.port = undefined;
    this.enabled = false;
  }

  info(): FilterInfo {
    const { indev, outdev } = this.chardevs;
    const input = indev && { indev: indev.id, received: this.received };
    const output = outdev && {
      outdev: outdev.id,
      sent: this.outlet?.sent ?? 0,
      dropped: this.outlet?.dropped ?? 0,
    };
    return {
      name: this.name,
      type: 'filter-redirector',
      direction: this.direction,
      status: this.enabled ? 'on' : 'off',
      properties: { ...input, ...output },
    };
  }

  /** As many frames as have room; then indev is read on, or not. */
  private inject(): void {
    const { indev } = this.chardevs;
    if (!indev || !this.port) return;
    try {
      while (this.enabled && !this.injector.busy) {
        const frame = this.reader.next();
        if (!frame) break;
        if (isFrame(frame)) this.injector.send(frame);
        this.received++;
      }
    } catch (error) {
      this.note(`filter-redirector ${this.name}: ${indev.label}: ${asVmError(error).message}`);
      this.reader.reset();
      return indev.hangUp();
    }
    if (this.enabled && !this.injector.busy) indev.resume();
    else indev.pause();
  }
}
