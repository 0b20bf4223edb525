/**
 * Tap interfaces of the host. The user (or a script of theirs) sets them up, adds them to a bridge,
 * removes them.
 */
import { event, tracer } from '../../base/trace.js';
import type { Tap, Taps } from '../ports.js';
import { type HostModule, hostModule, type NativeTap } from './addon.js';
import { systemError } from './errors.js';

const trace = tracer('tap', {
  open: event<{ ifname: string }>(),
  error: event<{ ifname: string; message: string }>(),
});

export class NodeTaps implements Taps {
  private readonly host: HostModule = hostModule();

  open(ifname = 'tap%d'): Tap {
    try {
      return new NodeTap(this.host, ifname);
    } catch (e) {
      throw systemError(`could not open tap interface '${ifname}'`, e);
    }
  }
}

class NodeTap implements Tap {
  readonly ifname: string;
  private readonly native: NativeTap;
  private listener: ((frame: Uint8Array) => void) | undefined;
  private paused = false;

  constructor(host: HostModule, ifname: string) {
    this.native = new host.Tap(
      ifname,
      frame => this.listener?.(frame),
      error => trace.error?.({ ifname, message: error.message }),
    );
    this.ifname = this.native.name();
    trace.open?.({ ifname: this.ifname });
  }

  onFrame(fn: (frame: Uint8Array) => void): void {
    this.listener = fn;
    this.read();
  }

  write(frame: Uint8Array): boolean {
    return this.native.write(frame);
  }

  pause(): void {
    this.paused = true;
    this.read();
  }

  resume(): void {
    this.paused = false;
    this.read();
  }

  dispose(): void {
    this.native.close();
  }

  /**
   * Frames that are not read stay in the kernel's queue, which drops when it is full, as a network
   * does.
   */
  private read(): void {
    this.native.setReading(this.listener !== undefined && !this.paused);
  }
}
