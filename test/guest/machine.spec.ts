/**
 * Goal: stock Linux finds and uses every device, and goes on elsewhere after a checkpoint. Method:
 * the real CPU and board with a disk and a network in memory; Debian's cloud kernel and the demo's
 * init (or COLO_TEST_KERNEL and COLO_TEST_MODULES, its unpacked tree). Skipped, with the reason
 * printed, where no kernel can be had.
 */
import { existsSync } from 'node:fs';
import { describe, expect, test } from '@jest/globals';
import type { MachineSpec } from '../../src/machine/spec.js';
import { TestDisk } from '../support/device-bench.js';
import { guestImage, type GuestImage, imageOrReason } from './build.js';
import { GuestVm } from './vm.js';

const image = await imageOrReason();
const LIMIT_MS = 120_000;
const disk = new TestDisk(65_536);

const build = (changes: Partial<MachineSpec>) =>
  GuestVm.build(changes, { disk, accel: 'soft', limitMs: LIMIT_MS });
const boot = (append: string, cpus = 1) => {
  const { kernel, initrd } = image as GuestImage;
  return build({
    cpus,
    kernel,
    initrd,
    append: `console=ttyS0 panic=-1 cryptomgr.notests ${append}`,
  });
};
const writes = () => disk.log.filter(line => line.startsWith('write')).length;
const arps = (vm: GuestVm) => vm.net.sent.filter(frame => frame.readUInt16BE(12) === 0x0806).length;

(typeof image === 'string' ? describe.skip : describe)('Debian cloud kernel', () => {
  test(
    'boots, writes its disk, announces itself; goes on from a checkpoint on another machine',
    async () => {
      const first = await boot('colo.ip=10.0.2.15');
      first.console.type('typed before the port is open\n');
      first.machine().start();
      await first.until('ready', () => first.console.written.includes('colo-guest: ready'));
      await first.until('disk writes', () => writes() > 50);
      // The line discipline echoes what it got.
      expect(first.console.written).toContain('typed before the port is open');
      expect(first.console.written).not.toMatch(/WARNING|BUG|nobody cared/);
      expect(first.console.written).toContain(
        'virtio_blk virtio0: [vda] 65536 512-byte logical blocks',
      );

      const a = first.machine().lifecycle;
      await a.stopForCheckpoint();
      const before = writes();
      const hash = a.ram.hash();
      const second = await build({ incoming: 'tcp:0:0' });
      const b = second.machine().lifecycle;
      first.carryTo(second);
      expect([a.ram.hash(), b.ram.hash(), writes()]).toEqual([hash, hash, before]);
      await first.machine().dispose();

      b.goOnAfterFailover({ run: true });
      await second.until('disk writes after the failover', () => writes() > before + 50);
      await second.until('the announcement', () => arps(second) > 0);
      expect(second.machine().runState).toBe('running');
      await second.machine().dispose();
    },
    LIMIT_MS * 3,
  );

  test(
    'drives an IDE disk by DMA, and goes on from a checkpoint on another machine',
    async () => {
      const drives = [
        { id: 'disk0', interface: 'ide', options: { driver: 'memory', size: '1M' } } as const,
      ];
      const { COLO_TEST_KERNEL: kernel, COLO_TEST_MODULES: tree } = process.env;
      disk.log.length = 0;
      const append = 'console=ttyS0 panic=-1 cryptomgr.notests colo.ip=10.0.2.15 colo.ide=1';
      const first = await build({ ...guestImage({ kernel, tree, ide: true }), append, drives });
      first.machine().start();
      await first.until('disk writes', () => writes() > 50);
      const { written } = first.console;
      expect(written).toMatch(/ata1.00: ATA-6: COLO HARDDISK, 1.0, max UDMA\/100/);
      expect(written).toContain('ata1: PATA max MWDMA2 cmd 0x1f0 ctl 0x3f6');
      expect(written).not.toMatch(/WARNING|BUG|nobody cared|lost interrupt|exception Emask/);

      const a = first.machine().lifecycle;
      await a.stopForCheckpoint();
      const before = writes();
      const second = await build({ incoming: 'tcp:0:0', drives });
      first.carryTo(second);
      await first.machine().dispose();
      second.machine().lifecycle.goOnAfterFailover({ run: true });
      await second.until('disk writes after the failover', () => writes() > before + 50);
      expect(second.console.written).not.toMatch(/exception Emask|I\/O error/);
      await second.machine().dispose();
    },
    LIMIT_MS * 3,
  );

  test(
    'finds two vCPUs, and goes on from a checkpoint of both',
    async () => {
      disk.log.length = 0;
      const first = await boot('colo.ip=10.0.2.15', 2);
      first.machine().start();
      await first.until('disk writes', () => writes() > 50);
      expect(first.console.written).toContain('smp: Brought up 1 node, 2 CPUs');
      expect(first.console.written).not.toMatch(/WARNING|BUG|stuck|nobody cared/);
      await first.machine().lifecycle.stopForCheckpoint();
      const before = writes();
      const second = await build({ cpus: 2, incoming: 'tcp:0:0' });
      first.carryTo(second);
      await first.machine().dispose();
      second.machine().lifecycle.goOnAfterFailover({ run: true });
      await second.until('disk writes after the failover', () => writes() > before + 50);
      await second.machine().dispose();
    },
    LIMIT_MS * 3,
  );

  test(
    'powers off by ACPI',
    async () => {
      const vm = await boot('quiet colo.halt=1');
      vm.machine().start();
      expect(await vm.machine().ended).toEqual({ cause: 'guest-shutdown', status: 0 });
      await vm.machine().dispose();
    },
    LIMIT_MS,
  );

  const firmware = existsSync('/usr/share/seabios/bios-256k.bin');
  (firmware ? test : test.skip)(
    'is started by firmware, asks it what there is, and powers off',
    async () => {
      const { kernel, initrd } = image as GuestImage;
      const append = 'console=ttyS0 panic=-1 cryptomgr.notests colo.halt=1';
      const vm = await build({ bios: 'bios-256k.bin', kernel, initrd, append });
      vm.machine().start();
      expect(await vm.machine().ended).toEqual({ cause: 'guest-shutdown', status: 0 });
      // Its own memory is reserved: the map is firmware's, not the loader's.
      expect(vm.console.written).toContain(
        'BIOS-e820: [mem 0x00000000fffc0000-0x00000000ffffffff] reserved',
      );
      expect(vm.console.written).not.toMatch(/WARNING|BUG|nobody cared/);
      await vm.machine().dispose();
    },
    2 * LIMIT_MS,
  );

  test.each(['noapic', 'noapic acpi=off'])(
    'without MSI and IOAPIC, by the 8259s: %s',
    async how => {
      disk.log.length = 0;
      const vm = await boot(`pci=nomsi ${how} colo.ip=10.0.2.15`);
      vm.machine().start();
      await vm.until('disk writes', () => writes() > 50);
      if (how === 'noapic')
        expect(vm.console.written).toContain('ACPI: Using PIC for interrupt routing');
      expect(vm.console.written).not.toMatch(/WARNING|BUG|nobody cared/);
      await vm.machine().dispose();
    },
    LIMIT_MS,
  );

  test(
    'without MSI, by INTx',
    async () => {
      disk.log.length = 0;
      const vm = await boot('quiet pci=nomsi colo.ip=10.0.2.15');
      vm.machine().start();
      await vm.until('disk writes', () => writes() > 50);
      await vm.machine().dispose();
    },
    LIMIT_MS,
  );
});
