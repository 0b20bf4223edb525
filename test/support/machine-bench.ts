/** A machine over fake CPUs, disk, network and characters, and what became of them. */
import { Machine } from '../../src/machine/machine.js';
import type { MachinePorts } from '../../src/machine/ports.js';
import { checkSpec } from '../../src/machine/check-spec.js';
import type { MachineSpec } from '../../src/machine/spec.js';
import { BenchClock, TestChar, TestDisk, TestNet } from './device-bench.js';
import { FakeRam } from './fake-ram.js';
import { FakeVm } from './fake-vm.js';

export const MIB = 1 << 20;

/** A kernel image that the loader takes. */
export function kernel(): Buffer {
  const b = Buffer.alloc(5 * 512 + 4096);
  b[0x1f1] = 4;
  b.writeUInt16LE(0xaa55, 0x1fe);
  b[0x201] = 0x6a;
  b.write('HdrS', 0x202, 'latin1');
  b.writeUInt16LE(0x020f, 0x206);
  b[0x236] = 1;
  b.writeUInt32LE(2047, 0x238);
  b.writeUInt32LE(0x7fff_ffff, 0x22c);
  b.writeBigUInt64LE(BigInt(2 * MIB), 0x258);
  return b;
}

export const base: MachineSpec = {
  name: 'test',
  role: 'primary',
  machineType: 'pc-i440fx-7.2',
  ramBytes: 16 * MIB,
  cpus: 1,
  accel: 'auto',
  kernel: 'vmlinuz',
  append: 'console=ttyS0',
  blockdevs: [],
  drives: [],
  netdevs: [],
  devices: [],
  objects: [],
  chardevs: [],
  serials: [],
  monitors: [],
  startPaused: false,
  noShutdown: false,
  noReboot: false,
};
export const full: Partial<MachineSpec> = {
  drives: [{ id: 'disk0', interface: 'virtio', options: { driver: 'memory', size: '1M' } }],
  netdevs: [{ type: 'tap', id: 'hn0' }],
  devices: [{ model: 'virtio-net-pci', id: 'nic0', properties: { netdev: 'hn0' } }],
  chardevs: [{ id: 'com', backend: { kind: 'null' } }],
  serials: ['com'],
};

/** A vCPU image is a few KiB. */
export class ImageVm extends FakeVm {
  override readonly cpus = [
    {
      image: Buffer.alloc(6176),
      save() {
        return Buffer.from(this.image);
      },
      check: (d: Uint8Array) => (d.length === 6176 ? undefined : 'vCPU state: wrong size'),
      load(d: Uint8Array) {
        this.image = Buffer.from(d);
      },
    },
  ];
  get rip(): bigint {
    return this.cpus[0].image.readBigUInt64LE(8 + 8 * 16);
  }
}

export let vm: ImageVm;
export let clock: BenchClock;
export let disk: TestDisk;
export let net: TestNet;
export let closed: string[];
export let events: string[];
export let reports: string[];
export let machine: Machine;

export function parts(changes: Partial<MachinePorts> = {}): MachinePorts {
  return {
    clock,
    files: {
      readFile: async path =>
        path === 'vmlinuz'
          ? kernel()
          : Promise.reject(new Error(`ENOENT: no such file or directory, open '${path}'`)),
    },
    entropy: { fill: bytes => void bytes.fill(0x5e) },
    report: line => void reports.push(line),
    createAccel: () => vm,
    openDrives: async () => ({
      claim: () => disk,
      manifest: () => [{ id: 'disk0', length: disk.length }],
      close: async () => void closed.push('drives'),
    }),
    openNet: async () => ({
      claim: () => net.netdev,
      list: () => ['hn0'],
      announce: () => void events.push('announce'),
      close: () => void closed.push('net'),
    }),
    openChardevs: async () => ({
      claim: () => ({ value: new TestChar() }),
      close: () => void closed.push('com'),
    }),
    ...changes,
  };
}
export async function build(changes: Partial<MachineSpec> = {}): Promise<Machine> {
  machine = await Machine.build(checkSpec({ ...base, ...full, ...changes }), parts());
  for (const name of ['STOP', 'RESUME', 'RESET', 'SHUTDOWN', 'POWERDOWN'] as const)
    machine.events.on(
      name,
      payload => void events.push(`${name} ${'reason' in payload ? payload.reason : ''}`.trim()),
    );
  return machine;
}
/** Another host for the next machine; the disk stays. */
export function newHost(): void {
  vm = new ImageVm(new FakeRam(16 * MIB));
  clock = new BenchClock(vm);
  net = new TestNet();
}

/** All of it anew, before each test. */
export function newBench(): void {
  newHost();
  disk = new TestDisk();
  closed = [];
  events = [];
  reports = [];
}
