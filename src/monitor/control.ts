/** A running machine with its disks, its network and its COLO, as the commands see it. Translates words; decides nothing but who may. */
import { VcpuImage } from '../accel/vcpu-image.js';
import { registerValue } from '../accel/registers.js';
import { translate } from '../accel/walk.js';
import { deviceNotFound, VmError } from '../base/errors.js';
import type { BlockLayer } from '../block/layer.js';
import type { BlockInfo as DriveInfo, NodeInfo } from '../block/query.js';
import type { Colo } from '../colo/colo.js';
import type { Clock } from '../host/ports.js';
import type { MachineControl } from '../machine/contract.js';
import type { MigrationData } from '../migration/status.js';
import type { CharBackend } from '../chardev/contract.js';
import type { Netdev, NetdevInfo } from '../net/contract.js';
import type { BlockControl, BlockInfo, Capability, ColoControl, InspectControl, MigrationControl, MigrationInfo, NetworkControl, ProcessControl, TraceControl, VmControl } from './vm.js';

export interface ControlParts {
  readonly machine: MachineControl;
  readonly block: BlockLayer;
  readonly colo: Colo;
  netdevs(): readonly Netdev[];
  readonly chardevs: ReadonlyMap<string, CharBackend>;
  readonly traces: TraceControl;
  readonly clock: Clock;
  readonly kvmPresent: boolean;
  readonly pid: number;
  readonly version: VmControl['version'];
}

const pageBytes = 4096;
const noUuid = '00000000-0000-0000-0000-000000000000';

export function vmControl(parts: ControlParts): VmControl {
  const { machine, colo, clock } = parts;
  return {
    name: machine.spec.name,
    uuid: machine.spec.uuid ?? noUuid,
    version: parts.version,
    kvm: { present: parts.kvmPresent, enabled: machine.accel.name === 'kvm' },
    get runState() {
      return machine.runState;
    },
    events: machine.events,
    stop: () => machine.stop(),
    cont: () => machine.cont(),
    reset: () => machine.reset(),
    powerdown: () => machine.powerdown(),
    quit: () => void clock.timer(0, () => machine.quit('host-qmp-quit')),
    migration: migrationControl(colo),
    colo: coloControl(colo),
    block: blockControl(parts.block),
    network: networkControl(parts),
    chardevs: { info: () => chardevInfo(parts) },
    traces: parts.traces,
    inspect: inspectControl(machine),
    process: processControl(parts),
  };
}

function networkControl({ netdevs }: ControlParts): NetworkControl {
  return {
    info: () => netdevs().flatMap(netdev => netdevLines(netdev.info())),
    setLink: (id, up) => {
      const netdev = netdevs().find(one => one.id === id);
      if (!netdev) throw deviceNotFound(id);
      netdev.setLink(up);
    },
  };
}

function chardevInfo({ machine: { spec }, chardevs }: ControlParts) {
  const users = new Set([...spec.serials, ...spec.monitors.map(monitor => monitor.chardev)]);
  return [...chardevs.values()].map(({ id, label, connected }) => ({ id, label, connected, used: users.has(id) }));
}

function processControl({ machine, colo, clock, pid }: ControlParts): ProcessControl {
  const startedMs = clock.nowMs();
  return {
    pid,
    get ageMs() {
      return Math.round(clock.nowMs() - startedMs);
    },
    get role() {
      if (colo.mode !== 'none') return colo.mode;
      return machine.runState === 'inmigrate' ? 'secondary' : 'alone';
    },
    get peer() {
      return colo.mode === 'none' ? undefined : colo.info().peer;
    },
    get isProtected() {
      const { state } = colo.info();
      return colo.mode !== 'none' && (state === 'protected' || state === 'loading');
    },
    ramBytes: machine.spec.ramBytes,
  };
}

function migrationControl(colo: Colo): MigrationControl {
  const state = new Map([
    ['x-colo', false],
    ['events', false],
  ]);
  return {
    start: uri => {
      if (!state.get('x-colo')) throw new VmError('only migration into COLO is offered', { hint: 'Switch it on first: migrate_set_capability x-colo on.' });
      colo.migrate(uri);
      return Promise.resolve();
    },
    cancel: () => colo.cancel(),
    info: () => migrationInfo(colo.query()),
    capabilities: () => [...state].map(([capability, on]): Capability => ({ capability, state: on })),
    setCapabilities: changes => {
      if (colo.migration.busy) throw new VmError("There's a migration process in progress");
      for (const change of changes) state.set(change.capability, change.state);
    },
    parameters: () => ({ 'x-checkpoint-delay': colo.info().checkpointDelayMs }),
    setParameters: changes => {
      const delay = changes['x-checkpoint-delay'];
      if (delay !== undefined) colo.setCheckpointDelay(delay);
    },
  };
}

function migrationInfo(data: MigrationData): MigrationInfo {
  if (data.status === 'none') return {};
  return {
    status: data.status,
    ram: { transferred: data.ramTransferredBytes, remaining: data.dirtyPages * pageBytes, total: data.ramTotalBytes, 'dirty-sync-count': data.rounds },
    'total-time': Math.round(data.totalMs),
    'error-desc': data.error,
  };
}

function coloControl(colo: Colo): ColoControl {
  return {
    status: () => colo.status(),
    statistics: () => {
      const counted = colo.info().statistics;
      if (!counted) return undefined;
      const typical = (measure: 'pages' | 'ramBytes' | 'pauseMs', p = 0.5) => counted.percentile(measure, p) ?? 0;
      return {
        checkpoints: counted.done,
        pauseMs: { p50: typical('pauseMs'), p99: typical('pauseMs', 0.99) },
        pagesPerCheckpoint: typical('pages'),
        bytesPerCheckpoint: typical('ramBytes'),
      };
    },
    lostHeartbeat: async () => colo.lostHeartbeat(),
  };
}

function blockControl(block: BlockLayer): BlockControl {
  return {
    nbdServerStart: async address => {
      await block.nbd.start(address.type === 'unix' ? { kind: 'unix', path: address.path } : { kind: 'tcp', host: address.host, port: address.port });
    },
    nbdServerAdd: async options => block.nbdServerAdd(options),
    nbdServerStop: () => block.nbd.stop(),
    get devices() {
      return block.list().map(drive => drive.id);
    },
    driveAdd: (options, { nodeOnly }) => block.driveAdd(options, { noBackend: nodeOnly }),
    driveDel: id => block.driveDel(id),
    blockdevAdd: options => block.blockdevAdd(options),
    changeChildren: async change => {
      await block.blockdevChange(change);
    },
    info: () => block.queryBlock().map(driveInfo),
    nodes: () => block.queryNamedBlockNodes().map(node => nodeInfo('', node)),
  };
}

function driveInfo(drive: DriveInfo): BlockInfo {
  const info = nodeInfo(drive.device, drive.inserted);
  const front = drive.qdev === undefined ? 'Attached to: nothing' : `Attached to: ${drive.qdev}`;
  return { ...info, details: [front, `Cache mode: ${drive.cache}`, ...info.details] };
}

function nodeInfo(device: string, node: NodeInfo): BlockInfo {
  const { filename, ...others } = node.details;
  return {
    device,
    nodeName: node['node-name'],
    driver: node.drv,
    file: filename === undefined ? '' : String(filename),
    readOnly: node.ro,
    sizeBytes: node.length,
    details: [...Object.entries(others).map(([name, value]) => `${name}: ${value}`), ...node.children.map(({ child, 'node-name': name }) => `${child}: ${name}`)],
  };
}

function netdevLines(netdev: NetdevInfo): string[] {
  const words = [`type=${netdev.type}`, ...Object.entries(netdev.properties).map(([name, value]) => `${name}=${value}`), `link=${netdev.link}`];
  if (netdev.mac !== undefined) words.push(`mac=${netdev.mac}`);
  const filters = netdev.filters.map(f => {
    const properties = Object.entries(f.properties).map(([name, value]) => `,${name}=${value}`).join('');
    return `  - ${f.name}: type=${f.type},queue=${f.direction},status=${f.status}${properties}`;
  });
  return [`${netdev.id}: ${words.join(',')}`, ...filters];
}

const pageMask = 0xfff;

function inspectControl(machine: MachineControl): InspectControl {
  const { ram, cpus } = machine.accel;
  const stoppedCpu = () => {
    if (machine.running) throw new VmError('the registers of a running vCPU cannot be read', { hint: 'Stop the VM first: stop.' });
    return new VcpuImage(cpus[0].save());
  };
  const physical = (address: bigint, length: number) => (address <= BigInt(Number.MAX_SAFE_INTEGER) ? ram.read(Number(address), length) : undefined);
  return {
    register: name => registerValue(stoppedCpu(), name),
    physicalMemory: physical,
    virtualMemory: (address, length) => {
      const cpu = stoppedCpu();
      const parts: Buffer[] = [];
      for (let done = 0; done < length; ) {
        const gva = BigInt.asUintN(64, address + BigInt(done));
        const size = Math.min(length - done, pageMask + 1 - Number(gva & BigInt(pageMask)));
        const gpa = translate(ram, cpu, gva);
        const bytes = gpa === undefined ? undefined : physical(gpa, size);
        if (!bytes) return undefined;
        parts.push(bytes);
        done += size;
      }
      return Buffer.concat(parts);
    },
    cpuCount: machine.accel.cpuCount,
    registers: async cpu => {
      if (machine.running) throw new VmError('the registers of a running vCPU cannot be read', { hint: 'Stop the VM first: stop.' });
      return machine.accel.registers(cpu);
    },
    devices: () => machine.deviceInfo(),
    pci: () => machine.pciInfo(),
  };
}
