/** WebSocket (RFC 6455) over a connection of this host, as a stream of bytes: binary messages. */
import { createServer, type IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { type WebSocket, WebSocketServer } from 'ws';
import { asVmError, VmError } from '../../base/errors.js';
import type { Stream, WebSocketOptions } from '../ports.js';

/** Of one message: viewers send some bytes at a time. */
const MESSAGE_MAX = 1 << 20;
const HEADER_MAX = 16 * 1024;
/** The name that older clients give to binary messages; newer ones say none. */
const SUBPROTOCOL = 'binary';
const UNSUPPORTED = 1003;

/** Rejects: the peer was told so, and the socket is closed. */
export function webSocketOver(
  socket: Socket,
  like: Pick<Stream, 'peer' | 'local'>,
  { timeoutMs, sameOrigin }: WebSocketOptions,
): Promise<Stream> {
  const action = `WebSocket of ${like.peer}`;
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => fail(new VmError('no handshake in time')), timeoutMs);
    const fail = (error: unknown) => {
      clearTimeout(timer);
      socket.destroy();
      reject(asVmError(error).during(action));
    };
    const refuse = (status: string, why: string) => {
      socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
      fail(new VmError(why));
    };
    const http = createServer({ maxHeaderSize: HEADER_MAX });
    const upgrades = new WebSocketServer({
      noServer: true,
      clientTracking: false,
      maxPayload: MESSAGE_MAX,
      handleProtocols: offered => (offered.has(SUBPROTOCOL) ? SUBPROTOCOL : false),
    });
    http.on('request', () => refuse('426 Upgrade Required', 'it asked for a page'));
    http.on('clientError', () => refuse('400 Bad Request', 'it speaks no HTTP'));
    http.on('upgrade', (request, _socket, head) => {
      if (sameOrigin && !isSameOrigin(request))
        return refuse('403 Forbidden', `a page of ${request.headers.origin} is not let in`);
      upgrades.handleUpgrade(request, socket, head, web => {
        clearTimeout(timer);
        socket.off('close', closed);
        // What comes before somebody listens must not be lost.
        web.pause();
        resolve(new WebSocketStream(web, like));
      });
    });
    const closed = () => fail(new VmError('the peer closed the connection'));
    upgrades.on('wsClientError', error => refuse('400 Bad Request', error.message));
    socket.once('close', closed);
    http.emit('connection', socket);
  });
}

/** A browser says whose page it is that connects; other programs say nothing. */
function isSameOrigin({ headers: { origin, host } }: IncomingMessage): boolean {
  if (origin === undefined) return true;
  try {
    return new URL(origin).hostname === new URL(`http://${host ?? ''}`).hostname;
  } catch {
    return false;
  }
}

class WebSocketStream implements Stream {
  readonly peer: string;
  readonly local?: boolean;
  private listening = false;
  private wantsData = true;
  private ended: { error?: Error } | undefined;
  private failure: Error | undefined;
  private endListener: ((error?: Error) => void) | undefined;
  private closedByUs = false;

  constructor(
    private readonly web: WebSocket,
    { peer, local }: Pick<Stream, 'peer' | 'local'>,
  ) {
    this.peer = peer;
    this.local = local;
    web.on('error', error => (this.failure = asVmError(error).during(peer)));
    web.on('close', () => this.finish());
  }

  get pending(): number {
    return this.web.bufferedAmount;
  }

  write(bytes: Uint8Array): Promise<void> {
    return new Promise((resolve, reject) =>
      this.web.send(bytes, { binary: true }, error =>
        error ? reject(this.failure ?? asVmError(error).during(this.peer)) : resolve(),
      ),
    );
  }

  onData(fn: (bytes: Uint8Array) => void): void {
    this.web.on('message', (data, isBinary) => {
      if (this.closedByUs) return;
      if (isBinary) return fn(data as Buffer);
      this.failure = new VmError(`${this.peer}: a WebSocket message of text`);
      this.web.close(UNSUPPORTED);
    });
    this.listening = true;
    this.flow();
  }

  onEnd(fn: (error?: Error) => void): void {
    this.endListener = fn;
    const { ended } = this;
    if (ended) queueMicrotask(() => fn(ended.error));
  }

  pause(): void {
    this.wantsData = false;
    this.flow();
  }

  resume(): void {
    this.wantsData = true;
    this.flow();
  }

  /** There is no half of a WebSocket: what was written still leaves. */
  end(): void {
    this.web.close();
  }

  destroy(): void {
    this.closedByUs = true;
    this.web.terminate();
  }

  dispose(): void {
    this.destroy();
  }

  private flow(): void {
    if (this.listening && this.wantsData) this.web.resume();
    else this.web.pause();
  }

  private finish(): void {
    if (this.ended || this.closedByUs) return;
    this.ended = { error: this.failure };
    this.endListener?.(this.failure);
  }
}
