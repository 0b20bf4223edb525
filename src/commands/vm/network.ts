/**
 * The netdevs of a machine, opened on this host; a tap's scripts are run as QEMU runs them: SCRIPT
 * IFNAME.
 */
import { execFile } from 'node:child_process';
import { access, constants } from 'node:fs/promises';
import { promisify } from 'node:util';
import { asVmError, deviceNotFound, VmError } from '../../base/errors.js';
import { type Claim, Inventory } from '../../base/inventory.js';
import { charLabel } from '../../chardev/parse.js';
import { SocketChar } from '../../chardev/socket.js';
import type { Address, Host } from '../../host/ports.js';
import type { NetProvider } from '../../machine/parts.js';
import type { MachineSpec, NetdevSpec } from '../../machine/spec.js';
import type { Netdev } from '../../net/contract.js';
import { SocketNetdev } from '../../net/netdev/socket.js';
import { TapNetdev } from '../../net/netdev/tap.js';
import type { AnnounceSchedule } from '../../net/packet/announce.js';
import { Announcer } from '../../net/packet/announce.js';

const scriptTimeoutMs = 30_000;
const maxNetdevs = 256;
const run = promisify(execFile);

type NetHost = Pick<Host, 'taps' | 'clock' | 'sockets'>;

interface OpenNetdev {
  readonly netdev: Netdev;
  /** Takes the interface down again. */
  down(): Promise<void>;
}

export class Network implements NetProvider {
  private readonly open = new Inventory<OpenNetdev>({
    kind: 'netdev',
    limit: maxNetdevs,
    use: 'shared',
    duplicate: id => new VmError(`Duplicate ID '${id}'`),
  });
  private readonly announcer: Announcer;

  private constructor(
    /** What both sides of a pair must have alike. */
    private readonly fixed: readonly string[],
    private readonly host: NetHost,
    private readonly note: (line: string) => void,
  ) {
    this.announcer = new Announcer(host.clock);
  }

  static async create(
    spec: MachineSpec,
    host: NetHost,
    note: (line: string) => void,
  ): Promise<Network> {
    const network = new Network(
      spec.netdevs.map(netdev => netdev.id),
      host,
      note,
    );
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
    await this.open.add(spec.id, () => openNetdev(spec, this.host, this.note));
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
      .catch((error: unknown) => this.note(`-netdev ${netdev.id}: ${asVmError(error).message}`))
      .finally(() => netdev.dispose());
  }
}

async function openNetdev(
  spec: NetdevSpec,
  host: NetHost,
  note: (line: string) => void,
): Promise<OpenNetdev> {
  return spec.type === 'tap' ? openTap(spec, host) : openSocket(spec, host, note);
}

async function openTap(
  spec: Extract<NetdevSpec, { type: 'tap' }>,
  host: NetHost,
): Promise<OpenNetdev> {
  const tap = host.taps.open(spec.ifname);
  try {
    await runScript(spec.script, '/etc/qemu-ifup', tap.ifname);
  } catch (error) {
    tap.dispose();
    throw error;
  }
  return {
    netdev: new TapNetdev(spec.id, tap, host.clock),
    down: () => runScript(spec.downscript, '/etc/qemu-ifdown', tap.ifname),
  };
}

async function openSocket(
  { id, address, server }: Extract<NetdevSpec, { type: 'socket' }>,
  host: NetHost,
  note: (line: string) => void,
): Promise<OpenNetdev> {
  const labelled = (at: Address) =>
    charLabel({ kind: 'socket', address: at, server, wait: false, reconnectMs: 0 });
  const chr = new SocketChar(id, labelled, { ...host, log: note }, address, 0);
  await (server ? chr.listen(false) : chr.dial());
  return {
    netdev: new SocketNetdev(id, chr, host.clock, line => note(`netdev ${id}: ${line}`)),
    down: () => Promise.resolve(),
  };
}

/** no: none. Not given: QEMU's default one, where the host has it. */
async function runScript(
  script: string | undefined,
  standard: string,
  ifname: string,
): Promise<void> {
  if (script === 'no' || script === '') return;
  if (script === undefined && !(await executable(standard))) return;
  const path = script ?? standard;
  try {
    await run(path, [ifname], { timeout: scriptTimeoutMs });
  } catch (error) {
    throw new VmError(`network script ${path} ${ifname} failed: ${(error as Error).message}`, {
      hint: 'script=no and downscript=no leave the interface as it is.',
    });
  }
}

const executable = (path: string) =>
  access(path, constants.X_OK).then(
    () => true,
    () => false,
  );
