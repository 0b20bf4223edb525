/** A tap interface of the host behind a nic. Its scripts are the machine's business. */
import type { Clock, Tap } from '../../host/ports.js';
import type { OutputHoldLimits } from '../filter/output-hold.js';
import { WiredNetdev } from './wired.js';

export class TapNetdev extends WiredNetdev {
  constructor(id: string, tap: Tap, clock: Clock, limits?: OutputHoldLimits) {
    const wire = {
      type: 'tap',
      properties: () => ({ ifname: tap.ifname }),
      onFrame: (fn: (frame: Uint8Array) => void) => tap.onFrame(fn),
      write: (frame: Uint8Array) => tap.write(frame),
      pause: () => tap.pause(),
      resume: () => tap.resume(),
      dispose: () => tap.dispose(),
    };
    super(id, wire, clock, limits);
  }
}
