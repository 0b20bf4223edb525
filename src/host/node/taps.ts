/**
 * Tap interfaces of the host. The user (or a script of theirs) sets them up, adds them to a bridge,
 * removes them.
 */
import { event, tracer } from '../../base/trace.js';
import type { Tap, Taps } from '../ports.js';
import { type HostModule, hostModule, type NativeTap } from './addon.js';
import { systemError } from './errors.js';
import { FrameSource } from './frame-source.js';

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

/**
 * Frames that are not read stay in the kernel's queue, which drops when it is full, as a network
 * does.
 */
class NodeTap extends FrameSource implements Tap {
  readonly ifname: string;
  protected readonly native: NativeTap;

  constructor(host: HostModule, ifname: string) {
    super();
    this.native = new host.Tap(
      ifname,
      frame => this.listener?.(frame),
      error => trace.error?.({ ifname, message: error.message }),
    );
    this.ifname = this.native.name();
    trace.open?.({ ifname: this.ifname });
  }

  write(frame: Uint8Array): boolean {
    return this.native.write(frame);
  }

  dispose(): void {
    this.native.close();
  }
}
