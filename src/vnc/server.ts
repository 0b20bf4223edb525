/**
 * The screen of a machine for any number of viewers (RFC 6143). It is looked at only while one of
 * them waits for a picture, less often while nothing moves.
 */
import { assert, asVmError, VmError } from '../base/errors.js';
import type { Disposable } from '../base/disposable.js';
import type { Events } from '../base/events.js';
import type { Clock, Entropy, Listener, Sockets, Stream, TlsContext } from '../host/ports.js';
import { type DisplaySource, newPainter, type Surface } from '../hw/display/surface.js';
import type { InputRouter } from '../hw/input/router.js';
import type { QmpEvents, VncPeer } from '../qapi/types.js';
import { encodePixelFormat, ownFormat } from './messages.js';
import { admitViewer, HANDSHAKE_MS } from './security.js';
import { Viewer } from './viewer.js';

const FIRST_PORT = 5900;
const FIRST_WEBSOCKET_PORT = 5700;
const LAST_PORT = 65535;
const VIEWERS_MAX = 16;
const FASTEST_MS = 33;
const SLOWEST_MS = 250;
const PASSWORD_MAX = 8;

export interface VncSpec {
  /** '' : every address of the host. */
  host: string;
  /** Port 5900 + display; up to `to` the first that is free. */
  display: number;
  to?: number;
  /** A port for browsers, too. */
  websocket?: number | 'by-display';
  password: boolean;
  /** Id of a tls-creds object. */
  tlsCreds?: string;
}

export interface VncPorts {
  readonly clock: Clock;
  readonly sockets: Sockets;
  readonly entropy: Entropy;
  readonly events: Pick<Events<QmpEvents>, 'emit'>;
  readonly name: string;
  readonly input: InputRouter;
  readonly display: DisplaySource;
  readonly tls: TlsContext | undefined;
  takesInput(): boolean;
  note(line: string): void;
}

type Door = 'plain' | 'websocket';

interface Seat {
  readonly peer: VncPeer;
  stream: Stream;
  /** While it shakes hands: when it has to be done. */
  late?: Disposable;
  viewer: Viewer | undefined;
}

export class VncServer implements Disposable {
  private listener: Listener | undefined;
  private webListener: Listener | undefined;
  private readonly seats = new Set<Seat>();
  private readonly painter = newPainter();
  private password: string | undefined;
  private timer: Disposable | undefined;
  private intervalMs = FASTEST_MS;
  private lookedMs = -FASTEST_MS;
  /** When the timer fires. */
  private dueMs = 0;
  private pictures = 0;

  constructor(
    readonly spec: VncSpec,
    private readonly ports: VncPorts,
  ) {}

  /** VmError: no port is free. */
  async listen(): Promise<void> {
    const { display, to = display, websocket } = this.spec;
    for (let n = display; ; n++) {
      try {
        this.listener = await this.listenAt(FIRST_PORT + n, 'plain');
        const web = websocket === 'by-display' ? FIRST_WEBSOCKET_PORT + n : websocket;
        if (web !== undefined) this.webListener = await this.listenAt(web, 'websocket');
        return;
      } catch (error) {
        this.listener?.dispose();
        if (n >= to || FIRST_PORT + n >= LAST_PORT) throw asVmError(error).during('-vnc');
      }
    }
  }

  private listenAt(port: number, kind: Door): Promise<Listener> {
    const { host } = this.spec;
    const address = { kind: 'tcp', host: host === '' ? '0.0.0.0' : host, port } as const;
    return this.ports.sockets.listen(address, stream => this.accept(stream, kind));
  }

  /** Where it listens, in QMP's words. */
  get address(): VncPeer {
    return addressOf(this.listener, 'plain');
  }

  /** Where browsers come; undefined: nowhere. */
  get webAddress(): VncPeer | undefined {
    return this.webListener && addressOf(this.webListener, 'websocket');
  }

  get auth(): string {
    const { password, tlsCreds } = this.spec;
    if (tlsCreds === undefined) return this.webAuth;
    return password ? 'vencrypt+x509+vnc' : 'vencrypt+x509+none';
  }

  /** Of browsers, who have TLS below the WebSocket. */
  get webAuth(): string {
    return this.spec.password ? 'vnc' : 'none';
  }

  get clients(): VncPeer[] {
    return [...this.seats].filter(({ viewer }) => viewer).map(({ peer }) => peer);
  }

  /** VmError: this server asks for none. RFB compares the first eight characters. */
  setPassword(password: string): void {
    if (!this.spec.password)
      throw new VmError('-vnc was given without password=on: nobody is asked for one');
    if (password.length > PASSWORD_MAX)
      throw new VmError(`RFB compares ${PASSWORD_MAX} characters of a password, no more`);
    this.password = password === '' ? undefined : password;
  }

  dispose(): void {
    this.listener?.dispose();
    this.webListener?.dispose();
    this.timer?.dispose();
    for (const seat of [...this.seats]) this.leave(seat);
  }

  // --- viewers

  private accept(stream: Stream, door: Door): void {
    if (this.seats.size >= VIEWERS_MAX) return stream.destroy();
    const seat: Seat = { peer: peerOf(stream.peer, door), stream, viewer: undefined };
    this.seats.add(seat);
    this.tell('VNC_CONNECTED', seat);
    this.serve(seat)
      .catch((error: unknown) => {
        if (this.seats.has(seat) && !seat.viewer)
          this.ports.note(`VNC: ${stream.peer}: ${asVmError(error).message}`);
      })
      .finally(() => this.leave(seat));
  }

  private async serve(seat: Seat): Promise<void> {
    const { ports, spec } = this;
    seat.late = ports.clock.timer(HANDSHAKE_MS, () => this.leave(seat));
    try {
      const web = seat.peer.websocket;
      if (web) await this.openWebSocket(seat);
      const admitted = await admitViewer(seat.stream, {
        entropy: ports.entropy,
        tls: web ? undefined : ports.tls,
        wantsPassword: spec.password,
        password: this.password,
      });
      const [shared] = await admitted.incoming.take(1);
      if (shared === 0) this.alone(seat);
      const surface = this.paint();
      await admitted.stream.write(serverInit(surface, ports.name));
      seat.late.dispose();
      if (!this.seats.has(seat)) return;
      seat.viewer = new Viewer(admitted, surface, {
        input: ports.input,
        takesInput: () => ports.takesInput(),
        stirred: () => this.stirred(),
        gone: () => this.leave(seat),
      });
      this.tell('VNC_INITIALIZED', seat);
      await seat.viewer.serve();
    } finally {
      seat.late.dispose();
    }
  }

  /** A browser's: TLS first, then HTTP. */
  private async openWebSocket(seat: Seat): Promise<void> {
    const { tls, sockets } = this.ports;
    const timeoutMs = HANDSHAKE_MS;
    const put = (stream: Stream) => {
      if (!this.seats.has(seat)) stream.destroy();
      seat.stream = stream;
    };
    if (tls) put(await tls.start(seat.stream, { timeoutMs }));
    assert(sockets.webSocket, 'this host speaks WebSocket');
    // Without a password any page that a browser of this host shows could type at the guest.
    const sameOrigin = !this.spec.password;
    put(await sockets.webSocket(seat.stream, { timeoutMs, sameOrigin }));
  }

  /** It asked to have the screen for itself. */
  private alone(seat: Seat): void {
    for (const other of [...this.seats]) if (other !== seat && other.viewer) this.leave(other);
  }

  private leave(seat: Seat): void {
    if (!this.seats.delete(seat)) return;
    seat.late?.dispose();
    seat.viewer?.close();
    seat.stream.destroy();
    this.tell('VNC_DISCONNECTED', seat);
  }

  private tell(event: 'VNC_CONNECTED' | 'VNC_INITIALIZED' | 'VNC_DISCONNECTED', seat: Seat): void {
    this.ports.events.emit(event, {
      server: seat.peer.websocket
        ? { ...(this.webAddress ?? this.address), auth: this.webAuth }
        : { ...this.address, auth: this.auth },
      client: seat.peer,
    });
  }

  // --- pictures

  private stirred(): void {
    this.intervalMs = FASTEST_MS;
    const now = this.ports.clock.nowMs();
    const dueMs = Math.max(now, this.lookedMs + FASTEST_MS);
    if (!this.timer || dueMs < this.dueMs) this.lookIn(dueMs - now);
  }

  /** All viewers hear of what has changed, whoever made it looked for. */
  private paint(): Surface {
    const { surface, changed } = this.ports.display.paint(this.painter);
    if (changed.length > 0) this.pictures++;
    for (const { viewer } of this.seats) viewer?.painted(surface, changed);
    return surface;
  }

  private lookIn(delayMs: number): void {
    this.timer?.dispose();
    this.dueMs = this.ports.clock.nowMs() + delayMs;
    this.timer = this.ports.clock.timer(delayMs, () => this.look());
  }

  private look(): void {
    this.timer = undefined;
    const viewers = [...this.seats].flatMap(({ viewer }) => viewer ?? []);
    if (!viewers.some(viewer => viewer.waits)) return;
    this.lookedMs = this.ports.clock.nowMs();
    const before = this.pictures;
    this.paint();
    const next = this.pictures !== before ? FASTEST_MS : this.intervalMs * 1.5;
    this.intervalMs = Math.min(next, SLOWEST_MS);
    this.lookIn(this.intervalMs);
  }
}

function serverInit({ width, height }: { width: number; height: number }, name: string): Buffer {
  const text = Buffer.from(`colo (${name})`, 'utf8');
  const head = Buffer.alloc(4);
  head.writeUInt16BE(width, 0);
  head.writeUInt16BE(height, 2);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(text.length);
  return Buffer.concat([head, encodePixelFormat(ownFormat), length, text]);
}

function addressOf(listener: Listener | undefined, door: Door): VncPeer {
  const address = listener?.address;
  if (address?.kind !== 'tcp') return peerOf('', door);
  const host = address.host.includes(':') ? `[${address.host}]` : address.host;
  return peerOf(`${host}:${address.port}`, door);
}

/** `10.0.0.2:4711`, `[::1]:4711`. */
function peerOf(text: string, door: Door): VncPeer {
  const match = /^\[?([^\]]*?)\]?:(\d+)$/.exec(text);
  const host = match?.[1] ?? text;
  return {
    host,
    service: match?.[2] ?? '',
    family: host.includes(':') ? 'ipv6' : 'ipv4',
    websocket: door === 'websocket',
  };
}
