/**
 * Where a filter's copies leave: frames on a character device. Without a reader, or with one that
 * stalls, copies are lost and counted; the guest does not wait, and no memory is used beyond what
 * the device itself keeps.
 */
import type { CharBackend } from '../../chardev/contract.js';
import { onStream } from '../packet/frame-stream.js';

export class Outlet {
  sent = 0;
  dropped = 0;

  constructor(private readonly chr: CharBackend) {}

  send(frame: Uint8Array): void {
    if (this.chr.connected && this.chr.write(onStream(frame))) this.sent++;
    else this.dropped++;
  }

  /** One was lost on the way here. */
  lose(): void {
    this.dropped++;
  }
}
