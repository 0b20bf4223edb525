/**
 * A disk's way to its NBD server. Without a reconnect delay it is one connection, and its end is
 * the end: a replica that lost a write must not go on as if it had it. With one, requests wait that
 * long for the server to come back and are sent again; each of them may be done twice without harm,
 * for none was acknowledged. What was acknowledged and not flushed is written again first.
 */
import type { Disposable } from '../../base/disposable.js';
import { asVmError, VmError } from '../../base/errors.js';
import { event, tracer } from '../../base/trace.js';
import type { Clock, Sockets } from '../../host/ports.js';
import { ioError, isAbsentServer } from '../contract/io-error.js';
import type { NbdExportInfo } from './client-protocol.js';
import { NbdClient, type NbdClientOptions } from './client.js';
import { CmdFlag, ExportFlag, NbdCmd } from './codec.js';
import { UnstableWrites } from './unstable-writes.js';

const trace = tracer('nbd', {
  link_lost: event<{ export: string; reason: string }>(),
  link_back: event<{ export: string }>(),
  link_given_up: event<{ export: string }>(),
});

export interface NbdLinkOptions extends NbdClientOptions {
  /** How long requests wait for a lost server; 0: it is not looked for. */
  reconnectDelayMs: number;
  /** At the start: for how long to try again while no server listens; 0: once. */
  openRetryMs: number;
}

const RETRY_MS = 200;
/** After the delay requests fail at once, and the server is looked for now and then. */
const SLOW_RETRY_MS = 2000;
/** Beyond, a request fails instead of waiting. */
const MAX_WAITING = 4096;

interface Waiter {
  go: () => void;
  fail: (error: VmError) => void;
}

export class NbdLink {
  private readonly unstable = new UnstableWrites();
  private waiting: Waiter[] = [];
  /** Undefined: the link is whole. */
  private lost?: { error: VmError; givenUp: boolean; deadline: Disposable; retry?: Disposable };
  private flushing?: Promise<void>;
  private closed = false;
  /** The first loss, whether or not it heals. */
  onFailure: (error: VmError) => void = () => undefined;

  private constructor(
    private readonly host: { sockets: Sockets; clock: Clock },
    private readonly options: NbdLinkOptions,
    private client: NbdClient,
    /** As it was at the start; a server that comes back must serve the same. */
    readonly info: NbdExportInfo,
  ) {
    this.adopt(client);
  }

  static async open(
    host: { sockets: Sockets; clock: Clock },
    options: NbdLinkOptions,
  ): Promise<NbdLink> {
    const untilMs = host.clock.nowMs() + options.openRetryMs;
    for (;;) {
      try {
        const client = await NbdClient.connect(host, options);
        return new NbdLink(host, options, client, client.info);
      } catch (error) {
        if (!isAbsentServer(error) || host.clock.nowMs() + RETRY_MS >= untilMs) throw error;
        await new Promise<void>(resolve => host.clock.timer(RETRY_MS, resolve));
      }
    }
  }

  get error(): VmError | undefined {
    return this.lost?.error ?? this.client.error;
  }

  async request(
    type: number,
    flags: number,
    offset: number,
    length: number,
    data?: Uint8Array,
  ): Promise<Buffer> {
    if (this.options.reconnectDelayMs === 0)
      return this.client.request(type, flags, offset, length, data);
    if (this.unstable.full) await this.makeRoom();
    return this.acrossLosses(async (client, mark) => {
      const answer = await client.request(type, flags, offset, length, data);
      this.acknowledged(type, flags, offset, length, data, mark);
      return answer;
    });
  }

  /**
   * On this connection, or on the next one that is found in time. mark: the writes that were under
   * way before.
   */
  private async acrossLosses<T>(
    attempt: (client: NbdClient, mark: number) => Promise<T>,
  ): Promise<T> {
    for (;;) {
      if (this.lost) await this.back();
      const { client } = this;
      try {
        return await attempt(client, this.unstable.mark);
      } catch (error) {
        // An answer of the server, or the end of its connection?
        if (client.error === undefined || this.closed) throw error;
      }
    }
  }

  /** This connection ends now; with a reconnect delay the next one is looked for. */
  abort(reason: VmError): void {
    this.client.abort(reason);
  }

  close(): void {
    this.closed = true;
    this.client.close();
    this.giveUp(ioError('ESHUTDOWN', 'the connection was closed'));
    this.stopSeeking();
  }

  private stopSeeking(): void {
    this.lost?.deadline.dispose();
    this.lost?.retry?.dispose();
  }

  private get volatile(): boolean {
    return (this.info.flags & ExportFlag.SEND_FLUSH) !== 0;
  }

  private acknowledged(
    type: number,
    flags: number,
    offset: number,
    length: number,
    data: Uint8Array | undefined,
    mark: number,
  ): void {
    if (type === NbdCmd.FLUSH) return this.unstable.flushed(mark);
    const changes = type === NbdCmd.WRITE || type === NbdCmd.WRITE_ZEROES || type === NbdCmd.TRIM;
    if (changes && this.volatile && (flags & CmdFlag.FUA) === 0)
      this.unstable.note({ type, flags, offset, length, data });
  }

  /** One flush for all who find the copies at their bound. */
  private async makeRoom(): Promise<void> {
    this.flushing ??= this.flushCopies().finally(() => (this.flushing = undefined));
    await this.flushing;
  }

  private flushCopies(): Promise<void> {
    return this.acrossLosses(async (client, mark) => {
      await client.request(NbdCmd.FLUSH, 0, 0, 0);
      this.unstable.flushed(mark);
    });
  }

  private back(): Promise<void> {
    const { lost } = this;
    if (!lost) return Promise.resolve();
    if (lost.givenUp) return Promise.reject(lost.error);
    if (this.waiting.length >= MAX_WAITING)
      return Promise.reject(
        ioError('EIO', `${MAX_WAITING} requests wait for the NBD server already`),
      );
    return new Promise((go, fail) => this.waiting.push({ go, fail }));
  }

  private adopt(client: NbdClient): void {
    this.client = client;
    client.onFailure = error => {
      if (this.closed || client !== this.client) return;
      this.onFailure(error);
      if (this.options.reconnectDelayMs > 0) this.lose(error);
    };
  }

  private lose(error: VmError): void {
    trace.link_lost?.({ export: this.options.exportName, reason: error.message });
    const { clock } = this.host;
    this.lost = {
      error,
      givenUp: false,
      deadline: clock.timer(this.options.reconnectDelayMs, () => this.giveUp(error)),
    };
    void this.seek();
  }

  private giveUp(error: VmError): void {
    if (this.lost && !this.lost.givenUp) {
      this.lost.givenUp = true;
      trace.link_given_up?.({ export: this.options.exportName });
    }
    for (const { fail } of this.waiting.splice(0)) fail(error);
  }

  /** Until the server is back or the disk is closed. */
  private async seek(): Promise<void> {
    const { lost } = this;
    while (lost && lost === this.lost && !this.closed) {
      const client = await this.attempt().catch((error: unknown) => asVmError(error));
      if (this.closed) return client instanceof NbdClient ? client.close() : undefined;
      if (client instanceof NbdClient) return this.found(client);
      await new Promise<void>(
        resolve =>
          (lost.retry = this.host.clock.timer(lost.givenUp ? SLOW_RETRY_MS : RETRY_MS, resolve)),
      );
    }
  }

  private async attempt(): Promise<NbdClient> {
    const client = await NbdClient.connect(this.host, this.options);
    try {
      const { size, flags } = client.info;
      if (size !== this.info.size)
        throw new VmError(
          `the NBD export '${this.options.exportName}' came back with ${size} bytes instead ` +
            `of ${this.info.size}`,
        );
      if (
        (this.info.flags &
          ~flags &
          (ExportFlag.SEND_FLUSH |
            ExportFlag.SEND_TRIM |
            ExportFlag.SEND_WRITE_ZEROES |
            ExportFlag.SEND_FUA)) !==
        0
      )
        throw new VmError(
          `the NBD export '${this.options.exportName}' came back with less than it could do before`,
        );
      if (flags & ~this.info.flags & ExportFlag.READ_ONLY)
        throw new VmError(`the NBD export '${this.options.exportName}' came back read-only`);
      for (const write of this.unstable)
        await client.request(write.type, write.flags, write.offset, write.length, write.data);
      return client;
    } catch (error) {
      client.close();
      throw error;
    }
  }

  private found(client: NbdClient): void {
    this.stopSeeking();
    this.lost = undefined;
    trace.link_back?.({ export: this.options.exportName });
    this.adopt(client);
    if (client.error) return this.lose(client.error);
    for (const { go } of this.waiting.splice(0)) go();
  }
}
