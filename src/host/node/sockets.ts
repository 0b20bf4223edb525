/** TCP and Unix sockets. */
import { randomBytes } from 'node:crypto';
import { link, lstat, rename, stat, unlink } from 'node:fs/promises';
import { createConnection, createServer, type Server, type Socket } from 'node:net';
import { dirname } from 'node:path';
import { VmError } from '../../base/errors.js';
import type {
  Address,
  Heartbeat,
  HeartbeatOptions,
  Listener,
  Sockets,
  Stream,
  TlsContext,
  TlsCredentials,
  WebSocketOptions,
} from '../ports.js';
import { errorCode, systemError } from './errors.js';
import { heartbeatBeside } from './heartbeat.js';
import { Outbox } from './outbox.js';
import { otherEndIsHeldBy, ownHolder } from './socket-holder.js';
import { tlsContext } from './tls.js';

/**
 * The kernel notices an idle peer that vanished after this and nine probes; protocols that need to
 * know sooner have a heartbeat.
 */
const KEEPALIVE_AFTER_MS = 10_000;
/** sun_path has 108 bytes with its end mark; Node cuts a longer path off without a word. */
const UNIX_PATH_MAX = 107;

export class NodeSockets implements Sockets {
  connect(address: Address, { timeoutMs }: { timeoutMs: number }): Promise<Stream> {
    return new Promise((resolve, reject) => {
      checkPath(address);
      const where = printable(address);
      const socket = createConnection({ ...target(address), allowHalfOpen: true });
      const fail = (error: VmError) => {
        clearTimeout(timer);
        socket.destroy();
        reject(error);
      };
      const timer = setTimeout(
        () => fail(new VmError(`Failed to connect to '${where}': Connection timed out`)),
        timeoutMs,
      );
      const onError = (e: Error) => fail(systemError(`Failed to connect to '${where}'`, e));
      socket.once('error', onError);
      socket.once('connect', () => {
        clearTimeout(timer);
        socket.off('error', onError);
        resolve(new NodeStream(socket, where, address.kind === 'unix'));
      });
    });
  }

  async listen(address: Address, onStream: (stream: Stream) => void): Promise<Listener> {
    checkPath(address);
    const server = createServer({ allowHalfOpen: true }, socket =>
      onStream(new NodeStream(socket, peerOf(socket, address), address.kind === 'unix')),
    );
    try {
      await bind(server, address);
    } catch (e) {
      if (errorCode(e) !== 'EADDRINUSE' || !(await removeStale(address)))
        throw await cannotListen(address, e);
      await bind(server, address).catch(async again => {
        throw await cannotListen(address, again);
      });
    }
    return { address: bound(server, address), dispose: () => void server.close() };
  }

  async webSocket(stream: Stream, options: WebSocketOptions): Promise<Stream> {
    if (!(stream instanceof NodeStream))
      throw new VmError('a WebSocket needs a connection of this host');
    const socket = stream.take();
    // Most VMs have no browser for a viewer.
    const { webSocketOver } = await import('./web-socket.js');
    return webSocketOver(socket, stream, options);
  }

  tls(role: 'client' | 'server', credentials: TlsCredentials): TlsContext {
    return tlsContext(role, credentials, {
      release: stream => {
        if (!(stream instanceof NodeStream))
          throw new VmError('TLS needs a connection of this host');
        return stream.release();
      },
      wrap: (socket, { peer, local }, unheard) => new NodeStream(socket, peer, local, unheard),
    });
  }
}

class NodeStream implements Stream {
  private ended: { error?: Error } | undefined;
  private endListener: ((error?: Error) => void) | undefined;
  private closedByUs = false;
  private failure: Error | undefined;
  private readonly outbox: Outbox;
  private onSocketData: (bytes: Buffer) => void = () => undefined;
  private readonly onSocketEnd = () => this.finish(this.unheard?.());
  private readonly onSocketClose = () => this.finish(this.failure);

  constructor(
    private readonly socket: Socket,
    readonly peer: string,
    readonly local = false,
    /** What an end before the first byte means. */
    private unheard?: (error?: Error) => VmError,
  ) {
    this.outbox = new Outbox(
      socket,
      e =>
        this.failure ??
        (e ? systemError(this.peer, e) : new VmError(`${this.peer}: the connection is closed`)),
    );
    socket.setNoDelay(true);
    socket.setKeepAlive(true, KEEPALIVE_AFTER_MS);
    socket.on('error', e => (this.failure = this.unheard?.(e) ?? systemError(this.peer, e)));
    socket.on('end', this.onSocketEnd);
    socket.on('close', this.onSocketClose);
  }

  get pending(): number {
    return this.outbox.bytes + this.socket.writableLength;
  }

  write(bytes: Uint8Array): Promise<void> {
    return this.outbox.write(bytes);
  }

  /** Until there is a listener, Node keeps the socket paused: nothing is lost. */
  onData(fn: (bytes: Uint8Array) => void): void {
    this.onSocketData = bytes => {
      this.unheard = undefined;
      if (!this.closedByUs) fn(bytes);
    };
    this.socket.on('data', this.onSocketData);
  }

  onEnd(fn: (error?: Error) => void): void {
    this.endListener = fn;
    const { ended } = this;
    if (ended) queueMicrotask(() => fn(ended.error));
  }

  pause(): void {
    this.socket.pause();
  }

  resume(): void {
    this.socket.resume();
  }

  end(): void {
    this.outbox.flush();
    this.socket.end();
  }

  /** What we closed ourselves needs no news: onEnd is not called after it. */
  destroy(): void {
    this.closedByUs = true;
    this.outbox.flush();
    this.socket.destroy();
  }

  dispose(): void {
    this.destroy();
  }

  get holder(): string | undefined {
    return ownHolder();
  }

  heldBy(holder: string): Promise<boolean> {
    return otherEndIsHeldBy(this.socket, holder);
  }

  heartbeat(options: HeartbeatOptions): Heartbeat {
    return heartbeatBeside(this.socket, options);
  }

  /** Node destroys a socket whose write fails, with all that waits in it to be read. */
  readToEnd(): void {
    const { socket } = this;
    const write = socket._write.bind(socket);
    const failed = (e: Error) => this.outbox.fail(systemError(this.peer, e));
    socket._writev = undefined;
    socket._write = (chunk, encoding, done) =>
      write(chunk, encoding, error => {
        if (error) failed(error);
        done();
      });
  }

  /** As take(), for a secret: nothing has come yet. */
  release(): Socket {
    if (this.socket.readableLength > 0) {
      this.take();
      throw new VmError(`${this.peer}: plain bytes where TLS must begin`);
    }
    return this.take();
  }

  /** Gives the socket away, with what waits there to be read; this stream is over, silently. */
  take(): Socket {
    this.closedByUs = true;
    this.outbox.flush();
    this.socket.off('data', this.onSocketData);
    this.socket.off('end', this.onSocketEnd);
    this.socket.off('close', this.onSocketClose);
    return this.socket;
  }

  private finish(error?: Error): void {
    if (this.ended || this.closedByUs) return;
    this.ended = { error };
    this.endListener?.(error);
  }
}

function target(address: Address): { host: string; port: number } | { path: string } {
  return address.kind === 'tcp'
    ? { host: address.host, port: address.port }
    : { path: address.path };
}

function printable(address: Address): string {
  return address.kind === 'tcp' ? `${address.host}:${address.port}` : address.path;
}

function peerOf(socket: Socket, address: Address): string {
  return address.kind === 'tcp' ? `${socket.remoteAddress}:${socket.remotePort}` : address.path;
}

function bind(server: Server, address: Address): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(target(address), () => {
      server.off('error', reject);
      // a failed accept (no descriptors left) is the client's loss, not ours
      server.on('error', () => undefined);
      resolve();
    });
  });
}

function checkPath(address: Address): void {
  if (address.kind !== 'unix' || Buffer.byteLength(address.path) <= UNIX_PATH_MAX) return;
  throw new VmError(`UNIX socket path '${address.path}' is too long`, {
    hint: `A path has at most ${UNIX_PATH_MAX} bytes.`,
  });
}

/**
 * A Unix socket without a listener was left behind by a process that died. True: it was removed.
 * Any other file of that name is left alone.
 */
async function removeStale(address: Address): Promise<boolean> {
  if (address.kind !== 'unix') return false;
  const found = await identityOf(address.path);
  if (!found) return false;
  const alive = await new Promise<boolean>(resolve => {
    const probe = createConnection({ path: address.path });
    probe.once('error', e => resolve(errorCode(e) !== 'ECONNREFUSED'));
    probe.once('connect', () => {
      probe.destroy();
      resolve(true);
    });
  });
  return !alive && (await takeAway(address.path, found));
}

/**
 * Another starter may have put a living socket there since we looked: what we take away is looked
 * at again under a name of our own, and comes back if it is not what we found dead. A rename keeps
 * the time of the last change of content, and a new socket has another.
 */
async function takeAway(path: string, dead: Identity): Promise<boolean> {
  const aside = `${path}.${randomBytes(6).toString('hex')}.stale`;
  try {
    await rename(path, aside);
  } catch {
    return true; // gone already: the first bind gets the name
  }
  const taken = await identityOf(aside);
  const ours = taken?.ino === dead.ino && taken.dev === dead.dev && taken.mtimeNs === dead.mtimeNs;
  if (!ours) await link(aside, path).catch(() => undefined);
  await unlink(aside).catch(() => undefined);
  return ours;
}

interface Identity {
  readonly ino: bigint;
  readonly dev: bigint;
  readonly mtimeNs: bigint;
}

/** Of a socket. */
async function identityOf(path: string): Promise<Identity | undefined> {
  const found = await lstat(path, { bigint: true }).catch(() => undefined);
  return found?.isSocket() ? found : undefined;
}

async function cannotListen(address: Address, e: unknown): Promise<VmError> {
  const action = `Failed to listen on '${printable(address)}'`;
  if (address.kind === 'tcp') return systemError(action, e);
  const found = await lstat(address.path).catch(() => undefined);
  if (errorCode(e) === 'EADDRINUSE' && found && !found.isSocket())
    return new VmError(`${action}: there is a file of that name, and it is not a socket`);
  // libuv says EACCES where bind() says ENOENT.
  const missing = await stat(dirname(address.path)).then(
    () => undefined,
    (error: unknown) => error,
  );
  return systemError(action, errorCode(e) === 'EACCES' ? (missing ?? e) : e);
}

function bound(server: Server, asked: Address): Address {
  const actual = server.address();
  if (asked.kind === 'unix' || actual === null || typeof actual === 'string') return asked;
  return { kind: 'tcp', host: asked.host, port: actual.port };
}
