/**
 * A machine with a real CPU and board around a disk and a network in memory, for tests that boot
 * Linux inside their own process.
 */
import type { AccelName } from '../../src/accel/choose.js';
import { plainCpu } from '../../src/accel/cpu-model.js';
import { AddonRam } from '../../src/accel/ram.js';
import { AddonVm } from '../../src/accel/vm.js';
import { nodeHost } from '../../src/host/node/host.js';
import { Machine } from '../../src/machine/machine.js';
import { checkSpec } from '../../src/machine/check-spec.js';
import type { MachineSpec } from '../../src/machine/spec.js';
import { TestChar, type TestDisk, TestNet } from '../support/device-bench.js';

const MIB = 1 << 20;
const host = nodeHost();

export interface GuestWorld {
  readonly disk: TestDisk;
  readonly accel: AccelName;
  readonly limitMs: number;
}

export class GuestVm {
  readonly console = new TestChar();
  readonly net = new TestNet();

  private constructor(
    readonly machine: () => Machine,
    private readonly limitMs: number,
  ) {}

  static async build(
    changes: Partial<MachineSpec>,
    { disk, accel, limitMs }: GuestWorld,
  ): Promise<GuestVm> {
    const vm = new GuestVm(() => machine, limitMs);
    const spec: MachineSpec = {
      name: 'guest',
      role: 'primary',
      machineType: 'pc-i440fx-7.2',
      ramBytes: 192 * MIB,
      cpus: 1,
      accel,
      append: '',
      objects: [],
      monitors: [],
      startPaused: false,
      noShutdown: false,
      noReboot: true,
      blockdevs: [],
      drives: [{ id: 'disk0', interface: 'virtio', options: { driver: 'memory', size: '1M' } }],
      netdevs: [{ type: 'tap', id: 'hn0' }],
      devices: [{ model: 'virtio-net-pci', id: 'nic0', properties: { netdev: 'hn0' } }],
      chardevs: [{ id: 'com', backend: { kind: 'null' } }],
      serials: ['com'],
      ...changes,
    };
    const machine: Machine = await Machine.build(checkSpec(spec), {
      clock: host.clock,
      files: host.files,
      entropy: host.entropy,
      report: () => undefined,
      createAccel: ({ ramBytes, romBytes, videoBytes }) =>
        new AddonVm(new AddonRam(ramBytes, romBytes, videoBytes), accel, {
          cpu: { ...plainCpu(), cores: spec.cpus },
        }),
      openDrives: async () => ({
        claim: () => disk,
        manifest: () => [{ id: 'disk0', length: disk.length }],
        close: async () => undefined,
      }),
      openNet: async () => ({
        claim: () => vm.net.netdev,
        list: () => ['hn0'],
        announce: () => vm.net.nic!.announce(),
        close: () => undefined,
      }),
      openChardevs: async () => ({ claim: () => ({ value: vm.console }), close: () => undefined }),
    });
    return vm;
  }

  async until(what: string, condition: () => boolean): Promise<void> {
    const end = host.clock.nowMs() + this.limitMs;
    while (!condition()) {
      if (host.clock.nowMs() > end)
        throw new Error(
          `${what} did not happen; the console says:\n${this.console.written.slice(-2000)}`,
        );
      await new Promise(resolve => host.clock.timer(20, () => resolve(undefined)));
    }
  }

  /**
   * Everything of a stopped machine: RAM, vCPUs, chips, devices. It stays stopped. Throws what the
   * other side refuses.
   */
  carryTo(other: GuestVm): void {
    const from = this.machine().lifecycle;
    const to = other.machine().lifecycle;
    const pages = Uint32Array.from({ length: from.ram.pageCount }, (_, i) => i);
    const bytes = Buffer.alloc(pages.length * 4096);
    const staged = to.parseDevices(from.saveDevices());
    from.ram.gather(pages, bytes);
    to.ram.scatter(pages, bytes);
    staged.apply();
  }
}
