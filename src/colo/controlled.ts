/**
 * What the controller asks of whatever talks with the other side of a migration: a guest that goes,
 * one that comes, and both sides of COLO.
 */
import type { VmError } from '../base/errors.js';

export interface Controlled {
  readonly peer: string;
  /** Runs the conversation to its end, whatever that is. */
  begin(): void;
  /** Nothing of it goes on. Never rejects. */
  over(): Promise<void>;
  /** The process ends, or another is let in: the connection with it. */
  close(): void;
  /** It fails with this error, wherever it waits. */
  abort(error: VmError): void;
  /** migrate_cancel may end it: the guest is still this side's. */
  readonly cancellable: boolean;
  cancel(): void;
}
