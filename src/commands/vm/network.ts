/** The netdevs of a spec, opened on this host; a tap's scripts are run as QEMU runs them: SCRIPT IFNAME. */
import { execFile } from 'node:child_process';
import { access, constants } from 'node:fs/promises';
import { promisify } from 'node:util';
import { VmError } from '../../base/errors.js';
import { type Claim, Inventory } from '../../base/inventory.js';
import type { Clock, Host } from '../../host/ports.js';
import type { NetProvider } from '../../machine/parts.js';
import type { MachineSpec, NetdevSpec } from '../../machine/spec.js';
import type { Netdev } from '../../net/contract.js';
import { TapNetdev } from '../../net/netdev/tap.js';
import { Announcer } from '../../net/packet/announce.js';

const scriptTimeoutMs = 30_000;
const maxNetdevs = 256;
const run = promisify(execFile);

interface OpenNetdev {
  readonly netdev: Netdev;
  /** Takes the interface down again. */
  down(): Promise<void>;
}

export class Network implements NetProvider {
  private readonly open = new Inventory<OpenNetdev>({ kind: 'netdev', limit: maxNetdevs, use: 'shared', duplicate: id => new VmError(`Duplicate ID '${id}'`) });
  private readonly announcer: Announcer;

  private constructor(
    clock: Clock,
    private readonly note: (line: string) => void,
  ) {
    this.announcer = new Announcer(clock);
  }

  static async create(spec: MachineSpec, host: Pick<Host, 'taps' | 'clock'>, note: (line: string) => void): Promise<Network> {
    const network = new Network(host.clock, note);
    try {
      for (const netdev of spec.netdevs) await network.open.add(netdev.id, () => openNetdev(netdev, host));
      return network;
    } catch (error) {
      network.close();
      throw error;
    }
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
    return this.netdevs.map(netdev => netdev.id);
  }

  announce(): void {
    this.announcer.start(() => this.netdevs.forEach(netdev => netdev.announce()));
  }

  close(): void {
    this.announcer.dispose();
    for (const { netdev, down } of this.open.values) {
      down()
        .catch((error: unknown) => this.note(`-netdev ${netdev.id}: ${String(error)}`))
        .finally(() => netdev.dispose());
    }
  }
}

async function openNetdev(spec: NetdevSpec, host: Pick<Host, 'taps' | 'clock'>): Promise<OpenNetdev> {
  if (spec.type !== 'tap') throw new VmError(`-netdev ${spec.type},id=${spec.id}: this type is not offered; colo has tap`);
  const tap = host.taps.open(spec.ifname);
  try {
    await runScript(spec.script, '/etc/qemu-ifup', tap.ifname);
  } catch (error) {
    tap.dispose();
    throw error;
  }
  return { netdev: new TapNetdev(spec.id, tap, host.clock), down: () => runScript(spec.downscript, '/etc/qemu-ifdown', tap.ifname) };
}

/** no: none. Not given: QEMU's default one, where the host has it. */
async function runScript(script: string | undefined, standard: string, ifname: string): Promise<void> {
  if (script === 'no' || script === '') return;
  if (script === undefined && !(await executable(standard))) return;
  const path = script ?? standard;
  try {
    await run(path, [ifname], { timeout: scriptTimeoutMs });
  } catch (error) {
    throw new VmError(`network script ${path} ${ifname} failed: ${(error as Error).message}`, { hint: 'script=no and downscript=no leave the interface as it is.' });
  }
}

const executable = (path: string) =>
  access(path, constants.X_OK).then(
    () => true,
    () => false,
  );
