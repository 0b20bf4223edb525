/** The netdevs of a machine, and the announcements on them. */
import { asVmError, deviceNotFound, VmError } from '../base/errors.js';
import { type Claim, Inventory } from '../base/inventory.js';
import type { NetProvider } from '../machine/ports.js';
import type { MachineSpec, NetdevSpec } from '../machine/spec.js';
import type { Forwards, Netdev } from '../net/contract.js';
import { Announcer, type AnnounceSchedule } from '../net/packet/announce.js';
import { type NetHost, openNetdev, type OpenNetdev } from './netdev.js';

const MAX_NETDEVS = 256;

export class Network implements NetProvider {
  private readonly open = new Inventory<OpenNetdev>({
    kind: 'netdev',
    limit: MAX_NETDEVS,
    use: 'shared',
    duplicate: id => new VmError(`Duplicate ID '${id}'`),
  });
  private readonly announcer: Announcer;

  private constructor(
    /** What both sides of a pair must have alike. */
    private readonly fixed: readonly string[],
    private readonly host: NetHost,
    /** The guest comes by -incoming. */
    private readonly guestComes: boolean,
  ) {
    this.announcer = new Announcer(host.clock);
  }

  static async create(
    spec: Pick<MachineSpec, 'netdevs' | 'incoming'>,
    host: NetHost,
  ): Promise<Network> {
    const fixed = spec.netdevs.map(netdev => netdev.id);
    const network = new Network(fixed, host, spec.incoming !== undefined);
    try {
      for (const netdev of spec.netdevs) await network.add(netdev);
      return network;
    } catch (error) {
      network.close();
      throw error;
    }
  }

  /** netdev_add. */
  async add(spec: NetdevSpec): Promise<void> {
    await this.open.add(spec.id, () => openNetdev(spec, this.host, this.guestComes));
  }

  /** netdev_del; VmError that names the user while it has one. */
  del(id: string): void {
    const found = this.open.take(id);
    if (!found) throw deviceNotFound(id);
    this.end(found);
  }

  get netdevs(): Netdev[] {
    return this.open.values.map(({ netdev }) => netdev);
  }

  get ids(): string[] {
    return this.open.ids;
  }

  /** DeviceNotFound if there is no such netdev. */
  setLink(id: string, up: boolean): void {
    const found = this.open.get(id);
    if (!found) throw deviceNotFound(id);
    found.netdev.setLink(up);
  }

  /** Of a netdev; without an id of the only one that has such ports. VmError: there is none. */
  forwards(id?: string): Forwards {
    const having = this.netdevs.filter(netdev => netdev.forwards);
    const found = id === undefined ? having : this.netdevs.filter(netdev => netdev.id === id);
    if (found.length === 0) throw id === undefined ? noUserNet() : deviceNotFound(id);
    if (found.length > 1)
      throw new VmError('there is more than one user netdev: say which', {
        hint: `They are ${having.map(netdev => netdev.id).join(', ')}.`,
      });
    const [{ forwards }] = found;
    if (!forwards) throw new VmError(`'${id}' is no user netdev`);
    return forwards;
  }

  claim(id: string, user: string): Netdev {
    return this.open.claim(id, user).value.netdev;
  }

  /** Until the claim is disposed, it cannot be taken away. */
  use(id: string, user: string): Claim<Netdev> {
    const { value, dispose } = this.open.claim(id, user);
    return { value: value.netdev, dispose };
  }

  list(): string[] {
    return [...this.fixed];
  }

  /** ids: only these netdevs. */
  announce(schedule?: AnnounceSchedule, ids?: readonly string[]): void {
    const unknown = ids?.find(id => !this.open.get(id));
    if (unknown !== undefined) throw deviceNotFound(unknown);
    this.announcer.start(
      () =>
        this.netdevs
          .filter(netdev => ids?.includes(netdev.id) ?? true)
          .forEach(netdev => netdev.announce()),
      schedule,
    );
  }

  close(): void {
    this.announcer.dispose();
    for (const one of this.open.values) this.end(one);
  }

  private end({ netdev, down }: OpenNetdev): void {
    down()
      .catch((error: unknown) =>
        this.host.note(`-netdev ${netdev.id}: ${asVmError(error).message}`),
      )
      .finally(() => netdev.dispose());
  }
}

const noUserNet = () =>
  new VmError('there is no user netdev', { hint: 'Give -netdev user on the command line.' });
