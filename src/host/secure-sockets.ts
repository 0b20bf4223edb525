/**
 * Sockets whose connections speak TLS from their first byte on, where their owner says so: for
 * protocols that do not ask for it themselves. A connection is handed on when both ends have shown
 * what they must; one that has not is closed, and its owner hears why.
 */
import { asVmError, type VmError } from '../base/errors.js';
import type { Claim } from '../base/inventory.js';
import type { Address, Clock, Listener, Sockets, Stream, TlsContext } from './ports.js';
import type { TlsEndpoint } from './tls-creds.js';

export interface Security {
  /** undefined: plain text. VmError: what it should be secured with is not there. */
  claim(endpoint: TlsEndpoint): Claim<TlsContext> | undefined;
  /** What a server's certificate must be made out to; undefined: what is dialled. */
  readonly hostname: string | undefined;
  /** Plain text will go over this address. */
  plain?(address: Address): void;
  /** A line for people: who was sent away, and why. */
  note(line: string): void;
}

export interface SecureLimits {
  /** Of a listener: a peer that is there has shaken hands long before. */
  readonly handshakeMs: number;
  /** Handshakes of a listener at once; the oldest makes room: it may be one that says nothing. */
  readonly shaking: number;
  /** Strangers must not fill a log. */
  readonly noteEveryMs: number;
}

export const defaultSecureLimits: SecureLimits = {
  handshakeMs: 5000,
  shaking: 8,
  noteEveryMs: 10_000,
};

type OnStream = (stream: Stream) => void;

export class SecureSockets implements Sockets {
  private quietUntilMs = -Infinity;
  private untold = 0;

  constructor(
    private readonly host: { readonly sockets: Sockets; readonly clock: Clock },
    private readonly security: Security,
    private readonly limits = defaultSecureLimits,
  ) {}

  /** timeoutMs is for all of it. */
  async connect(address: Address, { timeoutMs }: { timeoutMs: number }): Promise<Stream> {
    const { sockets, clock } = this.host;
    const tls = this.security.claim('client');
    if (!tls) {
      this.security.plain?.(address);
      return sockets.connect(address, { timeoutMs });
    }
    try {
      const startMs = clock.nowMs();
      const stream = await sockets.connect(address, { timeoutMs });
      const leftMs = Math.max(1, Math.ceil(timeoutMs - (clock.nowMs() - startMs)));
      const hostname = this.security.hostname ?? nameOf(address);
      return await tls.value.start(stream, { hostname, timeoutMs: leftMs });
    } finally {
      tls.dispose();
    }
  }

  /**
   * What it is secured with now holds until it is closed. A listener of plain text changes to TLS
   * as soon as its owner wants it.
   */
  async listen(address: Address, onStream: OnStream): Promise<Listener> {
    const tls = this.security.claim('server');
    if (!tls) this.security.plain?.(address);
    const shaking = new Set<Stream>();
    try {
      const listener = await this.host.sockets.listen(address, stream =>
        this.admit(stream, tls, shaking, onStream),
      );
      const dispose = () => {
        listener.dispose();
        for (const stream of [...shaking]) giveUp(stream, shaking);
        tls?.dispose();
      };
      return { address: listener.address, dispose };
    } catch (error) {
      tls?.dispose();
      throw error;
    }
  }

  private admit(
    stream: Stream,
    held: Claim<TlsContext> | undefined,
    shaking: Set<Stream>,
    onStream: OnStream,
  ): void {
    let late: Claim<TlsContext> | undefined;
    try {
      late = held ? undefined : this.security.claim('server');
    } catch (error) {
      stream.destroy();
      return this.refuse(asVmError(error).during(stream.peer));
    }
    const tls = held ?? late;
    if (!tls) return onStream(stream);
    if (shaking.size >= this.limits.shaking)
      for (const oldest of [...shaking].slice(0, 1)) giveUp(oldest, shaking);
    shaking.add(stream);
    tls.value
      .start(stream, { timeoutMs: this.limits.handshakeMs })
      .then(
        secured => (shaking.delete(stream) ? onStream(secured) : secured.destroy()),
        (error: unknown) => void (shaking.delete(stream) && this.refuse(asVmError(error))),
      )
      .finally(() => late?.dispose());
  }

  private refuse(why: VmError): void {
    const nowMs = this.host.clock.nowMs();
    if (nowMs < this.quietUntilMs) return void this.untold++;
    const more = this.untold === 0 ? '' : ` (and ${this.untold} more since the last such line)`;
    this.quietUntilMs = nowMs + this.limits.noteEveryMs;
    this.untold = 0;
    this.security.note(`a connection was refused: ${why.message}${more}`);
  }
}

/** Over a unix socket both ends are this host. */
export const nameOf = (address: Address): string =>
  address.kind === 'tcp' ? address.host : 'localhost';

function giveUp(stream: Stream, shaking: Set<Stream>): void {
  shaking.delete(stream);
  stream.destroy();
}
