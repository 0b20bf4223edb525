/**
 * The NBD server of a VM: nbd_server_start, _add, _stop. Fixed new-style; structured replies and
 * base:allocation when asked. Defaults: requests of at most 32 MiB; for each client 64 requests or
 * 64 MiB in flight, then its socket is not read; 16 clients; 10 s for negotiation, a minute for a
 * client that stalls.
 */
import { VmError } from '../../base/errors.js';
import type { Claim } from '../../base/inventory.js';
import type { Address, Clock, Listener, Sockets, Stream, TlsContext } from '../../host/ports.js';
import { DriveBackend } from '../backend/backend.js';
import { type BlockStatus, SECTOR } from '../contract/driver.js';
import type { BlockNode } from '../contract/node.js';
import { defaultServerLimits, type ServerLimits } from './server-protocol.js';
import type { ServedExport } from './server-commands.js';
import { NbdServerSession } from './server-session.js';

interface Exported extends ServedExport {
  readonly node: BlockNode;
  release(): void;
}

export class NbdServer {
  private listener?: Listener;
  private starting = false;
  private tls?: Claim<TlsContext>;
  private readonly exports = new Map<string, Exported>();
  private readonly sessions = new Set<NbdServerSession>();
  /** Nodes that one client writes to at most, and which one that is. */
  private readonly seats = new Map<BlockNode, { writer?: NbdServerSession }>();

  /** How many clients are left. */
  onClientGone: (left: number) => void = () => undefined;

  constructor(
    private readonly host: { sockets: Sockets; clock: Clock },
    private readonly limits: ServerLimits = defaultServerLimits,
  ) {}

  /** Where it listens, with the port that was chosen if 0 was asked. */
  get address(): Address | undefined {
    return this.listener?.address;
  }

  /** tls: then clients must speak it. */
  async start(address: Address, tls?: Claim<TlsContext>): Promise<Address> {
    if (this.listener || this.starting) throw new VmError('NBD server already running');
    this.starting = true;
    try {
      this.listener = await this.host.sockets.listen(address, stream => this.accept(stream));
      this.tls = tls;
    } finally {
      this.starting = false;
    }
    return this.listener.address;
  }

  /** name: that of the drive unless given. A read-only node stays read-only. */
  add(name: string, node: BlockNode, writable: boolean): void {
    if (!this.listener) throw new VmError('NBD server not running');
    if (this.exports.has(name)) throw new VmError(`NBD server already exporting device '${name}'`);
    const readOnly = !writable || node.readOnly;
    const release = node.attach({ label: `NBD export '${name}'`, write: !readOnly, group: 'nbd' });
    const backend = new DriveBackend(name, node, { readOnly, cache: 'writeback' });
    this.exports.set(name, {
      name,
      size: node.length,
      writable: !readOnly,
      backend,
      node,
      release,
      mayWrite: client => this.mayWrite(node, client as NbdServerSession),
      get fastZeroes() {
        return node.fastZeroes;
      },
      ...(node.knowsStatus && { blockStatus: (offset, length) => statusOf(node, offset, length) }),
    });
  }

  /** Drops exports and clients and waits for what they had in flight; then stops listening. */
  async stop(): Promise<void> {
    if (!this.listener) throw new VmError('NBD server not running');
    const listener = this.listener;
    this.listener = undefined;
    listener.dispose();
    await Promise.all([...this.exports.keys()].map(name => this.remove(name)));
    for (const session of [...this.sessions]) session.drop();
    this.tls?.dispose();
    this.tls = undefined;
  }

  /** Failover: no client of this node is left, and nothing of theirs is in flight. */
  async evict(node: BlockNode): Promise<void> {
    const names = [...this.exports.values()].filter(e => e.node === node).map(e => e.name);
    await Promise.all(names.map(name => this.remove(name)));
  }

  /** Under which name a peer may write to this node. */
  writableExportOf(node: BlockNode): string | undefined {
    return [...this.exports.values()].find(e => e.node === node && e.writable)?.name;
  }

  /**
   * A replica has one writer: the connected client, or of several the first that writes, because
   * the count of writes is of one client.
   */
  oneWriter(node: BlockNode, only: boolean): void {
    const clients = [...this.sessions].filter(
      ({ export: served }) => (served as Exported | undefined)?.node === node,
    );
    if (only) this.seats.set(node, { writer: clients.length === 1 ? clients[0] : undefined });
    else this.seats.delete(node);
  }

  private mayWrite(node: BlockNode, client: NbdServerSession): boolean {
    const seat = this.seats.get(node);
    if (!seat) return true;
    seat.writer ??= client;
    return seat.writer === client;
  }

  describe(): { name: string; writable: boolean; node: string; clients: number }[] {
    return [...this.exports.values()].map(({ name, writable, node }) => ({
      name,
      writable,
      node: node.name,
      clients: [...this.sessions].filter(s => s.export?.name === name).length,
    }));
  }

  private async remove(name: string): Promise<void> {
    const removed = this.exports.get(name);
    if (!removed) return;
    this.exports.delete(name);
    const clients = [...this.sessions].filter(session => session.export === removed);
    for (const session of clients) session.drop(new VmError('the export was removed'));
    await Promise.all(clients.map(session => session.drain()));
    removed.release();
  }

  private accept(stream: Stream): void {
    if (!this.listener || !this.makeRoom()) return stream.destroy();
    const context = {
      clock: this.host.clock,
      limits: this.limits,
      tls: this.tls?.value,
      exports: () => [...this.exports.values()],
    };
    const session = new NbdServerSession(stream, context, gone => {
      this.sessions.delete(gone);
      this.onClientGone(this.sessions.size);
    });
    if (!session.closed) this.sessions.add(session);
  }

  /**
   * Silent clients must not keep others out. The oldest that has chosen no export is dropped first,
   * then the one that has been idle for longest, of the origin with the most connections. The
   * writer of a replica and clients with a request under way stay.
   */
  private makeRoom(): boolean {
    if (this.sessions.size < this.limits.clients) return true;
    const victim = [...this.sessions].find(session => !session.export) ?? this.idlest();
    victim?.drop(new VmError('another client wants its place'));
    return victim !== undefined;
  }

  private idlest(): NbdServerSession | undefined {
    const writers = [...this.seats.values()].map(({ writer }) => writer);
    const idle = [...this.sessions].filter(
      session => session.idleSinceMs !== undefined && !writers.includes(session),
    );
    const places = (origin: string) =>
      [...this.sessions].filter(session => session.origin === origin).length;
    const most = Math.max(...idle.map(({ origin }) => places(origin)));
    const greedy = idle.filter(({ origin }) => places(origin) === most);
    return greedy.sort((a, b) => a.idleSinceMs! - b.idleSinceMs!)[0];
  }
}

/** A client may ask for any bytes, a node knows sectors. */
async function statusOf(node: BlockNode, offset: number, length: number): Promise<BlockStatus> {
  const before = offset % SECTOR;
  const end = Math.min(node.length, Math.ceil((offset + length) / SECTOR) * SECTOR);
  const found = await node.blockStatus(offset - before, end - offset + before);
  return { ...found, length: Math.min(length, found.length - before) };
}
