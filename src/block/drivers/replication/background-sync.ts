/**
 * Syncs a disk while writes come in. A takeover must find all of them durable before the guest
 * runs, and without this it would wait for whatever the host has kept in its page cache since the
 * replication began. One sync is under way at most; the next begins when it is through and enough
 * was written meanwhile. Writes do not wait for it.
 */
import { asVmError, type VmError } from '../../../base/errors.js';
import { unlessAssertion } from '../../contract/io-error.js';

/** So much is written before a sync begins: more often would cost small writes a sync each. */
export const SYNC_BYTES = 16 * 1024 * 1024;

export class BackgroundSync {
  private unsynced = 0;
  private underWay?: Promise<void>;

  constructor(
    private readonly flush: () => Promise<void>,
    /** The host may have dropped what it could not write. */
    private readonly failed: (error: VmError) => void,
  ) {}

  /** This number of bytes has been written. */
  wrote(bytes: number): void {
    this.unsynced += bytes;
    this.begin();
  }

  /** Until the sync that is under way is through. */
  async settled(): Promise<void> {
    while (this.underWay) await this.underWay;
  }

  private begin(): void {
    if (this.underWay || this.unsynced < SYNC_BYTES) return;
    this.unsynced = 0;
    this.underWay = this.flush()
      .catch((error: unknown) => this.failed(asVmError(unlessAssertion(error))))
      .finally(() => {
        this.underWay = undefined;
        this.begin();
      });
  }
}
