/** What the two ends of a migration without COLO have in common: parts, limits, one way to fail. */
import { VmError, lastFailure } from '../base/errors.js';
import type { Clock } from '../host/ports.js';
import type { Channel } from './channel.js';
import type { Migratable } from './contract.js';
import { Link } from './link.js';
import { type TransferMessage, transferCodec } from './messages.js';
import type { MigrationParameters } from './parameters.js';
import type { MigrationState } from './status.js';
import { within } from './wait.js';

export interface TransferLimits {
  /** An answer, or a chunk's way out of our queue. */
  replyTimeoutMs: number;
  /** From one message of the source to the next. */
  idleTimeoutMs: number;
  /** Device state, at most. */
  blobBytesMax: number;
  chunkPages: number;
  /** RAM that is gone through in one turn of the main loop. */
  turnBytes: number;
}

/** The images of the guest's disks, which both sides of a live migration have open. */
export interface SharedImages {
  /** The guest stands still: they are durable, and another process may have them. */
  inactivate(): Promise<void>;
  /** All are ours again, or none is. VmError: another process has one. */
  activate(): Promise<void>;
  /** What is under way of either ends by itself, and has changed nothing. */
  giveUp(): void;
}

export interface TransferPorts {
  readonly clock: Clock;
  readonly vm: Migratable;
  readonly migration: MigrationState;
  readonly parameters: MigrationParameters;
  readonly limits: TransferLimits;
  /** What the guest wrote is where another process can read it. */
  flushDisks(): Promise<void>;
  readonly images: SharedImages;
  /** Why the disks of this machine cannot go with such a migration, if so. */
  diskObstacle(how: 'outgoing' | 'incoming', live: boolean): string | undefined;
}

/** The images are ours, or what is still tried comes to nothing. */
export async function takeImages({
  clock,
  images,
  limits,
}: Pick<TransferPorts, 'clock' | 'images'> & {
  limits: Pick<TransferLimits, 'replyTimeoutMs'>;
}): Promise<void> {
  try {
    await within(clock, limits.replyTimeoutMs, 'locking the images', images.activate());
  } catch (error) {
    images.giveUp();
    throw error;
  }
}

export abstract class Transfer {
  protected readonly link: Link<TransferMessage>;
  /** It has said so; a connection that breaks says nothing. */
  protected peerGaveUp = false;
  private conversation: Promise<void> = Promise.resolve();

  constructor(
    protected readonly ports: TransferPorts,
    side: 'source' | 'destination',
    protected readonly channel: Channel,
  ) {
    this.link = new Link(channel.stream, ports.clock, transferCodec(side), channel.oneWay);
    this.link.sendLimitMs = ports.limits.replyTimeoutMs;
    this.link.urgent = message => {
      if (message.type !== 'error') return false;
      this.peerGaveUp = true;
      this.link.fail(new VmError(`the other side gave up: ${message.text}`));
      return true;
    };
  }

  get peer(): string {
    return this.link.peer;
  }

  begin(): void {
    this.conversation = this.converse().catch((thrown: unknown) => this.leave(lastFailure(thrown)));
  }

  /** Resolves when the transfer has ended. Never rejects. */
  over(): Promise<void> {
    return this.conversation;
  }

  /** Ends it from outside: it fails with this error, wherever it waits. */
  abort(error: VmError): void {
    this.link.fail(error);
  }

  get cancellable(): boolean {
    return false;
  }

  cancel(): void {
    this.abort(new VmError('the migration was cancelled'));
  }

  /** Ends the transfer: the process ends, or another one takes its place. */
  close(): void {
    this.link.destroy();
  }

  protected abstract converse(): Promise<void>;
  protected abstract leave(error: VmError): Promise<void>;

  /** Sends the reason to the other side, and gives it a moment to read it. */
  protected async sayWhy(error: VmError): Promise<void> {
    this.link.post({ type: 'error', text: error.message });
    this.link.fail(error);
    await this.link.farewell();
  }
}
