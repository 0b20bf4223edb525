/**
 * Goal: stock Linux finds and uses every device, and goes on elsewhere after a checkpoint. Method: the real CPU and board with a disk and a
 * network in memory; Debian's cloud kernel and the demo's init (or COLO_TEST_KERNEL and COLO_TEST_MODULES, its unpacked tree). Skipped, with the
 * reason printed, where no kernel can be had.
 */
import { describe, expect, test } from '@jest/globals';
import { AddonRam } from '../../src/accel/ram.js';
import { AddonVm } from '../../src/accel/vm.js';
import { nodeHost } from '../../src/host/node/host.js';
import { Machine } from '../../src/machine/machine.js';
import type { MachineSpec } from '../../src/machine/spec.js';
import { TestChar, TestDisk, TestNet } from '../support/device-bench.js';
import { type GuestImage, guestImage } from './build.js';

const image = imageOrReason();
const MIB = 1 << 20;
const LIMIT_MS = 120_000;
const host = nodeHost();
const disk = new TestDisk(65_536);

function imageOrReason(): GuestImage | string {
  try {
    return guestImage({ kernel: process.env.COLO_TEST_KERNEL, tree: process.env.COLO_TEST_MODULES });
  } catch (error) {
    console.log(`skipped: ${(error as Error).message}`);
    return (error as Error).message;
  }
}

class GuestVm {
  readonly console = new TestChar();
  readonly net = new TestNet();
  private constructor(readonly machine: () => Machine) {}

  static async build(changes: Partial<MachineSpec>): Promise<GuestVm> {
    const vm = new GuestVm(() => machine);
    const spec: MachineSpec = {
      name: 'guest', ramBytes: 192 * MIB, cpus: 1, accel: 'soft', append: '', objects: [], monitors: [], startPaused: false, noShutdown: false, noReboot: true,
      drives: [{ id: 'disk0', interface: 'virtio', options: {} }],
      netdevs: [{ type: 'tap', id: 'hn0' }],
      devices: [{ model: 'virtio-net-pci', id: 'nic0', netdev: 'hn0' }],
      chardevs: [{ id: 'com', backend: { kind: 'null' } }],
      serials: ['com'],
      ...changes,
    };
    const machine: Machine = await Machine.build(spec, {
      clock: host.clock,
      files: host.files,
      entropy: host.entropy,
      report: () => undefined,
      createAccel: ({ ramBytes }) => new AddonVm(new AddonRam(ramBytes)),
      openDrives: async () => ({ claim: () => disk, list: () => [{ id: 'disk0', length: disk.length }], close: async () => undefined }),
      openNet: async () => ({ claim: () => vm.net.netdev, list: () => ['hn0'], announce: () => vm.net.nic!.announce(), close: () => undefined }),
      openChardevs: async () => ({ claim: () => ({ value: vm.console }), close: () => undefined }),
    });
    return vm;
  }

  async until(what: string, condition: () => boolean): Promise<void> {
    const end = host.clock.nowMs() + LIMIT_MS;
    while (!condition()) {
      if (host.clock.nowMs() > end) throw new Error(`${what} did not happen; the console says:\n${this.console.written.slice(-2000)}`);
      await new Promise(resolve => host.clock.timer(20, () => resolve(undefined)));
    }
  }
}

const boot = (append: string) => {
  const { kernel, initrd } = image as GuestImage;
  return GuestVm.build({ kernel, initrd, append: `console=ttyS0 panic=-1 cryptomgr.notests ${append}` });
};
const writes = () => disk.log.filter(line => line.startsWith('write')).length;
const arps = (vm: GuestVm) => vm.net.sent.filter(frame => frame.readUInt16BE(12) === 0x0806).length;

(typeof image === 'string' ? describe.skip : describe)('Debian cloud kernel', () => {
  test('boots, writes its disk, announces itself; goes on from a checkpoint on another machine', async () => {
    const first = await boot('colo.ip=10.0.2.15');
    first.machine().start();
    await first.until('ready', () => first.console.written.includes('colo-guest: ready'));
    await first.until('disk writes', () => writes() > 50);
    expect(first.console.written).not.toMatch(/WARNING|BUG|nobody cared/);
    expect(first.console.written).toContain('virtio_blk virtio0: [vda] 65536 512-byte logical blocks');

    const a = first.machine().lifecycle;
    await a.stopForCheckpoint();
    const before = writes();
    const hash = a.ram.hash();
    const blob = a.saveDevices();
    const second = await GuestVm.build({ incoming: 'tcp:0:0' });
    const b = second.machine().lifecycle;
    const pages = Uint32Array.from({ length: a.ram.pageCount }, (_, i) => i);
    const bytes = Buffer.alloc(pages.length * 4096);
    a.ram.gather(pages, bytes);
    b.ram.scatter(pages, bytes);
    b.parseDevices(blob).apply();
    expect([a.ram.hash(), b.ram.hash(), writes()]).toEqual([hash, hash, before]);
    await first.machine().dispose();

    b.runAfterFailover();
    await second.until('disk writes after the failover', () => writes() > before + 50);
    await second.until('the announcement', () => arps(second) > 0);
    expect(second.machine().runState).toBe('running');
    await second.machine().dispose();
  }, LIMIT_MS * 3);

  test('powers off by ACPI', async () => {
    const vm = await boot('quiet colo.halt=1');
    vm.machine().start();
    expect(await vm.machine().ended).toEqual({ cause: 'guest-shutdown', status: 0 });
    await vm.machine().dispose();
  }, LIMIT_MS);

  test('without MSI, by INTx', async () => {
    disk.log.length = 0;
    const vm = await boot('quiet pci=nomsi colo.ip=10.0.2.15');
    vm.machine().start();
    await vm.until('disk writes', () => writes() > 50);
    await vm.machine().dispose();
  }, LIMIT_MS);
});
