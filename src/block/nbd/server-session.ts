/**
 * One client of the NBD server: negotiates, then has its requests served, as many at once as the
 * limits allow.
 */
import type { Disposable } from '../../base/disposable.js';
import { asVmError, VmError } from '../../base/errors.js';
import { event, tracer } from '../../base/trace.js';
import type { Clock, Stream, TlsContext } from '../../host/ports.js';
import * as nbd from './codec.js';
import { type Protocol, ProtocolMachine } from './machine.js';
import { answer, type ServedExport } from './server-commands.js';
import {
  type Dialect,
  negotiate,
  requests,
  type ServerLimits,
  type ServerRequest,
} from './server-protocol.js';

const trace = tracer('nbd', {
  server_client: event<{ peer: string; export: string }>(),
  server_gone: event<{ peer: string; reason: string }>(),
  server_request: event<{ type: number; offset: number; length: number }>(),
});

/** What all clients of a server have in common. */
export interface ServerSessionContext {
  readonly clock: Clock;
  readonly limits: ServerLimits;
  /** Given: clients must speak TLS. */
  readonly tls?: TlsContext;
  exports(): ServedExport[];
}

export class NbdServerSession {
  private stream: Stream;
  private readonly machine: ProtocolMachine;
  private readonly handshakeTimer: Disposable;
  private stallTimer?: Disposable;
  private chosen?: ServedExport;
  private dialect: Dialect = { structured: false, blockStatus: false };
  private inFlight = 0;
  private inFlightBytes = 0;
  /** Replies that the client has not taken. */
  private unsent = 0;
  private lastMs: number;
  /** Grows whenever the client does something. */
  private progress = 0;
  private paused = false;
  private gone = false;
  private readonly idle: (() => void)[] = [];

  constructor(
    stream: Stream,
    private readonly context: ServerSessionContext,
    private readonly onGone: (session: NbdServerSession) => void,
  ) {
    this.stream = stream;
    this.lastMs = context.clock.nowMs();
    this.machine = new ProtocolMachine(
      this.protocol(),
      bytes => void this.write(bytes),
      () => void this.startTls(),
    );
    this.handshakeTimer = context.clock.timer(context.limits.handshakeMs, () =>
      this.drop(new VmError('negotiation takes too long')),
    );
    this.listen();
    this.guarded(() => this.machine.start());
  }

  get closed(): boolean {
    return this.gone;
  }

  get export(): ServedExport | undefined {
    return this.chosen;
  }

  /** Without its port: where it comes from. */
  get origin(): string {
    return this.stream.peer.replace(/:\d+$/, '');
  }

  /** Since when it has asked for nothing; undefined while something of it is under way. */
  get idleSinceMs(): number | undefined {
    return this.inFlight > 0 || this.machine.partial ? undefined : this.lastMs;
  }

  /** At once; what was already handed to the disk is finished there. */
  drop(reason?: Error): void {
    if (this.gone) return;
    this.gone = true;
    trace.server_gone?.({ peer: this.stream.peer, reason: reason?.message ?? 'closed' });
    this.handshakeTimer.dispose();
    this.stallTimer?.dispose();
    this.machine.stop();
    this.stream.destroy();
    this.onGone(this);
  }

  /** Resolves when the disk has finished everything of this client. */
  drain(): Promise<void> {
    return this.inFlight === 0
      ? Promise.resolve()
      : new Promise(resolve => this.idle.push(resolve));
  }

  private *protocol(): Protocol {
    const { limits, tls } = this.context;
    const agreed = yield* negotiate(() => this.context.exports(), {
      maxRequest: limits.requestBytes,
      tls: tls !== undefined,
    });
    this.handshakeTimer.dispose();
    if (agreed) {
      const { chosen } = agreed;
      this.dialect = agreed.dialect;
      this.chosen = chosen;
      trace.server_client?.({ peer: this.stream.peer, export: chosen.name });
      yield* requests(limits.requestBytes, request => void this.serve(chosen, request));
    }
    // Goodbye: answers on their way may still arrive.
    void this.drain().then(() => this.drop());
  }

  private listen(): void {
    this.stream.onData(bytes => {
      this.progress++;
      this.guarded(() => this.machine.feed(bytes));
      if (this.machine.partial) this.watch();
    });
    this.stream.onEnd(error => this.drop(error));
  }

  /** The timer of the handshake continues. */
  private async startTls(): Promise<void> {
    try {
      const secured = await this.context.tls!.start(this.stream, {
        timeoutMs: this.context.limits.handshakeMs,
      });
      if (this.gone) return secured.destroy();
      this.stream = secured;
      this.listen();
      this.guarded(() => this.machine.secured());
    } catch (error) {
      this.drop(asVmError(error));
    }
  }

  private guarded(body: () => void): void {
    try {
      body();
    } catch (error) {
      this.drop(asVmError(error));
    }
  }

  private async serve(served: ServedExport, request: ServerRequest): Promise<void> {
    const { requestBytes } = this.context.limits;
    const cost = request.type === nbd.NbdCmd.READ ? request.length : (request.data?.length ?? 0);
    const bytes = Math.min(cost, requestBytes);
    this.enter(bytes);
    trace.server_request?.({ type: request.type, offset: request.offset, length: request.length });
    try {
      const reply = await answer(
        served,
        { client: this, dialect: this.dialect, maxRequest: requestBytes },
        request,
      );
      if (!this.gone) await this.send(reply);
    } finally {
      this.leave(bytes);
    }
  }

  /**
   * A request is over when its reply has left: a client that does not read is not served for ever.
   */
  private async send(parts: readonly Uint8Array[]): Promise<void> {
    this.unsent++;
    this.watch();
    for (let n = 0; n < parts.length - 1; n++) void this.write(parts[n]);
    await this.write(parts[parts.length - 1]);
    this.unsent--;
    this.progress++;
  }

  /** One timer as long as the client has something to do; it looks whether it has done anything. */
  private watch(): void {
    if (this.stallTimer || this.gone) return;
    const seen = this.progress;
    this.stallTimer = this.context.clock.timer(this.context.limits.stallMs, () => {
      this.stallTimer = undefined;
      if (this.unsent === 0 && !this.machine.partial) return;
      if (this.progress === seen)
        this.drop(
          new VmError(
            'the client neither takes its replies nor ends its request for ' +
              `${this.context.limits.stallMs} ms`,
          ),
        );
      else this.watch();
    });
  }

  private enter(bytes: number): void {
    this.inFlight++;
    this.inFlightBytes += bytes;
    if (this.paused || this.hasRoom) return;
    this.paused = true;
    this.machine.hold();
    this.stream.pause();
  }

  private leave(bytes: number): void {
    this.inFlight--;
    this.inFlightBytes -= bytes;
    this.lastMs = this.context.clock.nowMs();
    if (this.inFlight === 0) for (const resolve of this.idle.splice(0)) resolve();
    if (!this.paused || this.gone || !this.hasRoom) return;
    this.paused = false;
    this.stream.resume();
    this.guarded(() => this.machine.release());
  }

  private get hasRoom(): boolean {
    const { limits } = this.context;
    return this.inFlight < limits.inFlight && this.inFlightBytes < limits.inFlightBytes;
  }

  private async write(bytes: Uint8Array): Promise<void> {
    try {
      await this.stream.write(bytes);
    } catch (error) {
      this.drop(asVmError(error));
    }
  }
}
