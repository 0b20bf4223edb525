/**
 * One NBD connection: many requests in flight, bounded, each with a deadline. The first failure of
 * the link ends the connection, and a caller that needs another one makes it: a replica that has
 * lost a write must not continue as if it had it.
 */
import type { Disposable } from '../../base/disposable.js';
import { asVmError, VmError } from '../../base/errors.js';
import { event, tracer } from '../../base/trace.js';
import type { Address, Clock, Sockets, Stream, TlsContext } from '../../host/ports.js';
import { ioError } from '../contract/io-error.js';
import {
  answeredError,
  clientHandshake,
  clientReplies,
  type Expected,
  type NbdExportInfo,
} from './client-protocol.js';
import * as nbd from './codec.js';
import { type Protocol, ProtocolMachine } from './machine.js';

const trace = tracer('nbd', {
  client_connected: event<{ export: string; size: number }>(),
  client_closed: event<{ export: string; reason: string }>(),
});

export interface NbdClientOptions {
  address: Address;
  exportName: string;
  /** For connecting and for the handshake, together. */
  connectTimeoutMs: number;
  /** How long nothing may move while a request waits for its answer. */
  requestTimeoutMs: number;
  /** hostname: what the server's certificate must be made out to. */
  tls?: { context: TlsContext; hostname?: string };
}

const MAX_IN_FLIGHT = 64;
const COPY_BELOW = 32 * 1024;
/** Data leaves in pieces of this length: what a slow link has taken of a long write is seen. */
const PIECE = 256 * 1024;
/** A request that others overtake for so many time-outs is lost, however busy the connection is. */
const OVERTAKEN = 10;

interface Pending extends Expected {
  readonly issuedMs: number;
  /** All of it has left our queue. */
  sent: boolean;
  resolve(data: Buffer): void;
  reject(error: VmError): void;
}

export class NbdClient {
  private readonly machine: ProtocolMachine;
  /** In order of issue, so the first has waited longest. */
  private readonly pending = new Map<number, Pending>();
  private readonly waiting: (() => void)[] = [];
  private running = 0;
  private nextCookie = 1;
  private failure?: VmError;
  private watchdog?: Disposable;
  /** When bytes came last, or bytes of the oldest request went: a slow link is not a dead one. */
  private movedMs = 0;
  /** Since when the oldest request is that. */
  private oldestMs = 0;
  private exportInfo?: NbdExportInfo;
  /** The link has failed, whether or not a request was in flight. */
  onFailure: (error: VmError) => void = () => undefined;
  private ready!: { resolve: () => void; reject: (error: VmError) => void };

  private constructor(
    private stream: Stream,
    private readonly clock: Clock,
    private readonly options: NbdClientOptions,
  ) {
    this.machine = new ProtocolMachine(
      this.protocol(),
      bytes => void this.write(bytes),
      () => void this.startTls(),
    );
  }

  static async connect(
    host: { sockets: Sockets; clock: Clock },
    options: NbdClientOptions,
  ): Promise<NbdClient> {
    const startMs = host.clock.nowMs();
    const stream = await host.sockets.connect(options.address, {
      timeoutMs: options.connectTimeoutMs,
    });
    const client = new NbdClient(stream, host.clock, options);
    const leftMs = Math.max(1, options.connectTimeoutMs - (host.clock.nowMs() - startMs));
    const timer = host.clock.timer(leftMs, () =>
      client.fail(new VmError(`no handshake within ${options.connectTimeoutMs} ms`)),
    );
    try {
      await client.handshake();
    } finally {
      timer.dispose();
    }
    trace.client_connected?.({ export: options.exportName, size: client.info.size });
    return client;
  }

  get info(): NbdExportInfo {
    return this.exportInfo!;
  }

  get error(): VmError | undefined {
    return this.failure;
  }

  /** data: only for WRITE, ours until the promise settles. Gives the data of a READ. */
  async request(
    type: number,
    flags: number,
    offset: number,
    length: number,
    data?: Uint8Array,
  ): Promise<Buffer> {
    if (this.running >= MAX_IN_FLIGHT && !this.failure)
      await new Promise<void>(go => this.waiting.push(go));
    else this.running++;
    try {
      if (this.failure) throw this.failure;
      return await this.issue(type, flags, offset, length, data);
    } finally {
      const next = this.waiting.shift();
      if (next) next();
      else this.running--;
    }
  }

  /** From outside: the link fails now, and with it every request. */
  abort(error: VmError): void {
    this.fail(error);
  }

  /** Says goodbye; requests in flight fail. */
  close(): void {
    if (this.failure) return;
    const bye = this.stream
      .write(nbd.encodeRequest(nbd.NbdCmd.DISC, 0, 0, 0, 0))
      .catch(() => undefined);
    this.fail(
      ioError('ESHUTDOWN', 'the connection was closed'),
      () => void bye.then(() => this.stream.destroy()),
    );
  }

  private issue(
    type: number,
    flags: number,
    offset: number,
    length: number,
    data?: Uint8Array,
  ): Promise<Buffer> {
    const cookie = this.nextCookie++;
    return new Promise<Buffer>((resolve, reject) => {
      const issuedMs = this.clock.nowMs();
      if (this.pending.size === 0) this.movedMs = this.oldestMs = issuedMs;
      const request = { type, offset, length, issuedMs, sent: false, resolve, reject };
      this.pending.set(cookie, request);
      this.watch();
      void this.send(nbd.encodeRequest(type, flags, cookie, offset, length), data).then(
        () => (request.sent = true),
      );
    });
  }

  /** All of it is given to the stream at once: what another request sends comes behind it. */
  private async send(header: Uint8Array, data: Uint8Array | undefined): Promise<void> {
    // A short copy is cheaper than one more system call and packet.
    if (data && data.length <= COPY_BELOW) return this.write(Buffer.concat([header, data]));
    const written = [this.write(header)];
    for (let at = 0; data && at < data.length; at += PIECE)
      written.push(this.write(data.subarray(at, at + PIECE)));
    await Promise.all(written);
  }

  private *protocol(): Protocol {
    this.exportInfo = yield* clientHandshake({
      exportName: this.options.exportName,
      tls: this.options.tls !== undefined,
    });
    this.ready.resolve();
    yield* clientReplies(() => this.info, {
      expected: cookie => this.pending.get(cookie),
      settle: (cookie, result) => {
        const request = this.pending.get(cookie)!;
        const [first] = this.pending.keys();
        this.pending.delete(cookie);
        if (first === cookie) this.oldestMs = this.clock.nowMs();
        if ('data' in result) request.resolve(result.data);
        else request.reject(answeredError(this.options.exportName, result));
      },
    });
  }

  private handshake(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.ready = { resolve, reject };
      this.listen();
      this.guarded(() => this.machine.start());
    });
  }

  private listen(): void {
    this.stream.onData(bytes => {
      this.movedMs = this.clock.nowMs();
      this.guarded(() => this.machine.feed(bytes));
    });
    this.stream.onEnd(error =>
      this.fail(error ? asVmError(error) : new VmError('the server closed the connection')),
    );
  }

  private async startTls(): Promise<void> {
    const { tls, connectTimeoutMs } = this.options;
    try {
      const secured = await tls!.context.start(this.stream, {
        hostname: tls!.hostname,
        timeoutMs: connectTimeoutMs,
      });
      if (this.failure) return secured.destroy();
      this.stream = secured;
      this.listen();
      this.guarded(() => this.machine.secured());
    } catch (error) {
      this.fail(asVmError(error));
    }
  }

  private guarded(body: () => void): void {
    try {
      body();
    } catch (error) {
      this.fail(asVmError(error));
    }
  }

  private async write(bytes: Uint8Array): Promise<void> {
    try {
      await this.stream.write(bytes);
    } catch (error) {
      return this.fail(asVmError(error));
    }
    // What goes behind the oldest request says nothing about it: also for a dead peer the kernel
    // takes bytes for a while.
    const [oldest] = this.pending.values();
    if (oldest && !oldest.sent) this.movedMs = this.clock.nowMs();
  }

  /** One timer for the oldest request; it is set again when it finds that things move. */
  private watch(): void {
    if (this.watchdog || this.failure || this.pending.size === 0) return;
    this.watchdog = this.clock.timer(Math.max(1, this.deadlineMs - this.clock.nowMs()), () => {
      this.watchdog = undefined;
      if (this.pending.size === 0) return;
      if (this.deadlineMs <= this.clock.nowMs())
        this.fail(new VmError(`no answer within ${this.options.requestTimeoutMs} ms`));
      else this.watch();
    });
  }

  /** Of the oldest request. */
  private get deadlineMs(): number {
    const [oldest] = this.pending.values();
    const { requestTimeoutMs } = this.options;
    const stillMs = Math.max(this.movedMs, oldest.issuedMs);
    return Math.min(
      stillMs + requestTimeoutMs,
      Math.max(this.oldestMs, oldest.issuedMs) + OVERTAKEN * requestTimeoutMs,
    );
  }

  private fail(cause: VmError, hangUp: () => void = () => this.stream.destroy()): void {
    if (this.failure) return;
    const error = cause.during(`NBD export '${this.options.exportName}' at ${this.stream.peer}`);
    this.failure = error;
    trace.client_closed?.({ export: this.options.exportName, reason: cause.message });
    this.machine.stop();
    this.watchdog?.dispose();
    hangUp();
    this.ready?.reject(error);
    for (const request of this.pending.values()) request.reject(error);
    this.pending.clear();
    this.onFailure(error);
  }
}
