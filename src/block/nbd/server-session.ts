/** One client of the NBD server: negotiates, then serves its requests, as many at once as the limits allow. */
import type { Disposable } from '../../base/disposable.js';
import { asVmError, VmError } from '../../base/errors.js';
import { tracer } from '../../base/trace.js';
import type { Clock, Stream } from '../../host/ports.js';
import type { BlockBackend } from '../contract.js';
import type { BlockStatus } from '../driver.js';
import { ioCode, ioError, unlessAssertion } from '../io-error.js';
import * as nbd from './codec.js';
import { type Protocol, ProtocolMachine } from './machine.js';
import { BASE_ALLOCATION, type Dialect, type ExportFacts, negotiate, requests, type ServerLimits, type ServerRequest } from './server-protocol.js';

const trace = tracer('nbd', ['server_client', 'server_gone', 'server_request']);

export interface ServedExport extends ExportFacts {
  readonly backend: BlockBackend;
  /** For base:allocation. */
  blockStatus(offset: number, length: number): Promise<BlockStatus>;
}

const noData = Buffer.alloc(0);
const HOLE_ZERO = 3;
const MAX_STATUS_RUNS = 1024;
const commandFlags: Record<number, number> = {
  [nbd.NbdCmd.READ]: nbd.CmdFlag.DF,
  [nbd.NbdCmd.WRITE]: nbd.CmdFlag.FUA,
  [nbd.NbdCmd.FLUSH]: 0,
  [nbd.NbdCmd.TRIM]: nbd.CmdFlag.FUA,
  [nbd.NbdCmd.CACHE]: 0,
  [nbd.NbdCmd.BLOCK_STATUS]: nbd.CmdFlag.REQ_ONE,
  [nbd.NbdCmd.WRITE_ZEROES]: nbd.CmdFlag.FUA | nbd.CmdFlag.NO_HOLE,
};

export class NbdServerSession {
  private readonly machine: ProtocolMachine;
  private readonly handshakeTimer: Disposable;
  private chosen?: ServedExport;
  private dialect: Dialect = { structured: false, blockStatus: false };
  private inFlight = 0;
  private inFlightBytes = 0;
  private paused = false;
  private gone = false;
  private readonly idle: (() => void)[] = [];

  constructor(
    private readonly stream: Stream,
    clock: Clock,
    exports: () => ServedExport[],
    private readonly limits: ServerLimits,
    private readonly onGone: (session: NbdServerSession) => void,
  ) {
    this.machine = new ProtocolMachine(this.protocol(exports), bytes => void this.write(bytes));
    this.handshakeTimer = clock.timer(limits.handshakeMs, () => this.drop(new VmError('negotiation takes too long')));
    stream.onData(bytes => this.guarded(() => this.machine.feed(bytes)));
    stream.onEnd(error => this.drop(error));
    this.guarded(() => this.machine.start());
  }

  get closed(): boolean {
    return this.gone;
  }

  get export(): ServedExport | undefined {
    return this.chosen;
  }

  /** At once; what was already handed to the disk is finished there. */
  drop(reason?: Error): void {
    if (this.gone) return;
    this.gone = true;
    trace('server_gone', { peer: this.stream.peer, reason: reason?.message ?? 'closed' });
    this.handshakeTimer.dispose();
    this.machine.stop();
    this.stream.destroy();
    this.onGone(this);
  }

  /** Resolves when the disk has finished everything of this client. */
  drain(): Promise<void> {
    return this.inFlight === 0 ? Promise.resolve() : new Promise(resolve => this.idle.push(resolve));
  }

  private *protocol(exports: () => ServedExport[]): Protocol {
    const agreed = yield* negotiate(exports, this.limits.requestBytes);
    this.handshakeTimer.dispose();
    if (agreed) {
      const { chosen } = agreed;
      this.dialect = agreed.dialect;
      this.chosen = chosen;
      trace('server_client', { peer: this.stream.peer, export: chosen.name });
      yield* requests(this.limits.requestBytes, request => void this.serve(chosen, request));
    }
    // Goodbye: answers on their way may still arrive.
    void this.drain().then(() => this.drop());
  }

  private guarded(body: () => void): void {
    try {
      body();
    } catch (error) {
      this.drop(asVmError(error));
    }
  }

  private async serve(served: ServedExport, request: ServerRequest): Promise<void> {
    const cost = request.type === nbd.NbdCmd.READ ? request.length : (request.data?.length ?? 0);
    const bytes = Math.min(cost, this.limits.requestBytes);
    this.enter(bytes);
    trace('server_request', { type: request.type, offset: request.offset, length: request.length });
    try {
      const reply = await this.perform(served, request).then(
        data => this.success(request, data),
        (error: unknown) => this.failure(request, unlessAssertion(error)),
      );
      if (!this.gone) await this.write(reply);
    } finally {
      this.leave(bytes);
    }
  }

  private success(request: ServerRequest, data: Buffer): Buffer {
    const cookie = Buffer.from(request.cookie);
    const { type, offset } = request;
    if (this.dialect.structured && type === nbd.NbdCmd.READ && data.length > 0) return nbd.encodeChunk(cookie, nbd.ChunkType.OFFSET_DATA, [nbd.encodeOffset(offset), data]);
    if (type === nbd.NbdCmd.BLOCK_STATUS) return nbd.encodeChunk(cookie, nbd.ChunkType.BLOCK_STATUS, [data]);
    if (this.dialect.structured && type === nbd.NbdCmd.READ) return nbd.encodeChunk(cookie, nbd.ChunkType.NONE, []);
    const header = nbd.encodeSimpleReply(cookie, 0);
    return data.length > 0 ? Buffer.concat([header, data]) : header;
  }

  private failure({ cookie, type }: ServerRequest, error: unknown): Buffer {
    const errno = nbd.errnoOf(ioCode(error));
    const chunked = this.dialect.structured && (type === nbd.NbdCmd.READ || type === nbd.NbdCmd.BLOCK_STATUS);
    return chunked ? nbd.encodeChunkError(Buffer.from(cookie), errno, asVmError(error).message) : nbd.encodeSimpleReply(Buffer.from(cookie), errno);
  }

  /** Runs of base:allocation: bit 0 hole, bit 1 zero. */
  private async status(served: ServedExport, { offset, length, flags }: ServerRequest): Promise<Buffer> {
    if (!this.dialect.blockStatus) throw ioError('EINVAL', 'block status was not negotiated');
    if (length === 0) throw ioError('EINVAL', 'block status of no bytes');
    const runs: { length: number; flags: number }[] = [];
    const most = flags & nbd.CmdFlag.REQ_ONE ? 1 : MAX_STATUS_RUNS;
    for (let at = offset; at < offset + length; ) {
      const found = await served.blockStatus(at, offset + length - at);
      const state = found.zero ? HOLE_ZERO : 0;
      const last = runs[runs.length - 1];
      if (last?.flags === state) last.length += found.length;
      else if (runs.length === most) break;
      else runs.push({ length: found.length, flags: state });
      at += found.length;
    }
    const out = Buffer.alloc(4 + 8 * runs.length);
    out.writeUInt32BE(BASE_ALLOCATION, 0);
    runs.forEach((run, n) => {
      out.writeUInt32BE(run.length, 4 + 8 * n);
      out.writeUInt32BE(run.flags, 8 + 8 * n);
    });
    return out;
  }

  private async perform(served: ServedExport, request: ServerRequest): Promise<Buffer> {
    const { type, flags, offset, length } = request;
    const allowed = commandFlags[type];
    if (allowed === undefined || (flags & ~allowed) !== 0) throw ioError('EINVAL', 'unknown NBD command or flag');
    const fua = (flags & nbd.CmdFlag.FUA) !== 0;
    const { backend } = served;
    if (type === nbd.NbdCmd.FLUSH) {
      await backend.flush();
      return noData;
    }
    const changes = type === nbd.NbdCmd.WRITE || type === nbd.NbdCmd.TRIM || type === nbd.NbdCmd.WRITE_ZEROES;
    if (changes && !served.writable) throw ioError('EPERM', 'the export is read-only');
    const carriesData = type === nbd.NbdCmd.READ || type === nbd.NbdCmd.WRITE;
    if (carriesData && length > this.limits.requestBytes) throw ioError('EINVAL', 'the request is too long');
    if (offset + length > served.size) throw ioError(changes ? 'ENOSPC' : 'EINVAL', 'beyond the end of the export');
    if (type === nbd.NbdCmd.BLOCK_STATUS) return this.status(served, request);
    // A hint: the host's page cache decides.
    if (type === nbd.NbdCmd.CACHE) return noData;
    if (type === nbd.NbdCmd.READ) return length === 0 ? noData : backend.pread(offset, length);
    if (type === nbd.NbdCmd.WRITE) await backend.pwrite(offset, request.data!, { fua });
    else {
      await (type === nbd.NbdCmd.TRIM ? backend.discard(offset, length) : backend.writeZeroes(offset, length));
      if (fua) await backend.flush();
    }
    return noData;
  }

  private enter(bytes: number): void {
    this.inFlight++;
    this.inFlightBytes += bytes;
    if (this.paused || (this.inFlight < this.limits.inFlight && this.inFlightBytes < this.limits.inFlightBytes)) return;
    this.paused = true;
    this.machine.hold();
    this.stream.pause();
  }

  private leave(bytes: number): void {
    this.inFlight--;
    this.inFlightBytes -= bytes;
    if (this.inFlight === 0) for (const resolve of this.idle.splice(0)) resolve();
    if (!this.paused || this.gone) return;
    if (this.inFlight >= this.limits.inFlight || this.inFlightBytes >= this.limits.inFlightBytes) return;
    this.paused = false;
    this.stream.resume();
    this.guarded(() => this.machine.release());
  }

  private async write(bytes: Uint8Array): Promise<void> {
    try {
      await this.stream.write(bytes);
    } catch (error) {
      this.drop(asVmError(error));
    }
  }
}
