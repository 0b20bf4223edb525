/**
 * What the controller asks of a session with the other side of a migration: an outgoing or incoming
 * guest, and both sides of COLO.
 */
import type { VmError } from '../base/errors.js';

export interface Controlled {
  readonly peer: string;
  /** Runs the conversation until it ends, in success or failure. */
  begin(): void;
  /** Resolves when the session has ended. Never rejects. */
  over(): Promise<void>;
  /** The process ends, or another is let in: the connection with it. */
  close(): void;
  /** It fails with this error, wherever it waits. */
  abort(error: VmError): void;
  /** migrate_cancel may end it: the guest is still this side's. */
  readonly cancellable: boolean;
  cancel(): void;
}
