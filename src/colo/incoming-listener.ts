/**
 * Where a migration is waited for. Until it has said a valid hello, a client is a stranger: it is
 * answered, and neither keeps others away nor changes anything.
 */
import type { Disposable } from '../base/disposable.js';
import type { Address, Listener, Sockets, Stream } from '../host/ports.js';
import type { Controlled } from './controlled.js';

/** Connections that have not said a valid hello yet. */
const STRANGERS_MAX = 4;

export class IncomingListener implements Disposable {
  private listener: Listener | undefined;
  private readonly strangers = new Set<Controlled>();

  /** session: what talks with one that has come, before it is begun. */
  constructor(
    private readonly sockets: Sockets,
    private readonly session: (stream: Stream) => Controlled,
  ) {}

  get open(): boolean {
    return this.listener !== undefined;
  }

  /** With the port that was chosen if 0 was asked. */
  get address(): Listener['address'] | undefined {
    return this.listener?.address;
  }

  async listen(endpoint: Address): Promise<Listener['address']> {
    this.listener = await this.sockets.listen(endpoint, stream => this.answer(stream));
    return this.listener.address;
  }

  /** None is waited for any more; one that is being answered may stay. */
  close(): void {
    this.listener?.dispose();
    this.listener = undefined;
  }

  /** It is the peer: no other client has it closed. */
  admit(session: Controlled): void {
    this.strangers.delete(session);
  }

  dispose(): void {
    this.listener?.dispose();
    for (const stranger of this.strangers) stranger.close();
  }

  private answer(stream: Stream): void {
    // Closes the connection that has been silent for longest: silent clients must not keep a
    // primary away.
    if (this.strangers.size >= STRANGERS_MAX)
      for (const oldest of [...this.strangers].slice(0, 1)) this.sendAway(oldest);
    const stranger = this.session(stream);
    this.strangers.add(stranger);
    stranger.begin();
    void stranger.over().then(() => this.strangers.delete(stranger));
  }

  private sendAway(stranger: Controlled): void {
    this.strangers.delete(stranger);
    stranger.close();
  }
}
