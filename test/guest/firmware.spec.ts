/**
 * Goal: SeaBIOS of the host boots a disk, again after a reset, powers off when the guest asks, and
 * a guest that it booted goes on elsewhere after a checkpoint; so with a kernel that it is given.
 * Method: the real CPU and board, a boot sector of our own on a disk in memory, a kernel of our
 * own. Skipped where there is no SeaBIOS.
 */
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, test } from '@jest/globals';
import type { MachineSpec } from '../../src/machine/spec.js';
import { TestDisk } from '../support/device-bench.js';
import { Random } from '../support/random.js';
import { Ask, BOOTED, bootSector, ECHOED, KERNEL_RUNS, kernelImage } from './boot-sector.js';
import { bootableIso } from './iso.js';
import { GuestVm } from './vm.js';

const LIMIT_MS = 120_000;
const firmware = existsSync('/usr/share/seabios/bios-256k.bin');
if (!firmware) console.log('skipped: there is no /usr/share/seabios/bios-256k.bin');

const running: GuestVm[] = [];
const disk = new TestDisk(2048);
disk.data.set(bootSector());

async function build(changes: Partial<MachineSpec> = {}, medium = disk): Promise<GuestVm> {
  const spec = { ramBytes: 32 << 20, noReboot: false, ...changes };
  const vm = await GuestVm.build(spec, { ...world, disk: medium });
  running.push(vm);
  return vm;
}
const world = { accel: 'soft', limitMs: LIMIT_MS } as const;
const iso = bootableIso(bootSector());
const cdrom = new TestDisk(iso.length / 512, true);
cdrom.data.set(iso);

const folder = mkdtempSync(join(tmpdir(), 'colo-firmware-'));
const [kernel, initrd] = [join(folder, 'kernel'), join(folder, 'initrd')];
const random = new Random(1);
const noise = (length: number) => Buffer.from(Array.from({ length }, () => random.below(256)));
const payload = noise(300 * 1024);
const archive = Buffer.concat([Buffer.from('070701'), noise(100_003)]);
writeFileSync(kernel, kernelImage(payload));
writeFileSync(initrd, archive);
afterAll(() => rmSync(folder, { recursive: true }));

const count = (vm: GuestVm, text: string) => vm.console.written.split(text).length - 1;
const said = (vm: GuestVm, text: string, times = 1) =>
  vm.until(`'${text}' ${times} times`, () => count(vm, text) >= times);

afterEach(async () => {
  for (const vm of running.splice(0)) await vm.machine().dispose();
});

(firmware ? describe : describe.skip)('SeaBIOS', () => {
  test(
    'boots a disk; again after a reset by the guest, and by the user; powers off',
    async () => {
      const vm = await build();
      const began = Date.now();
      vm.machine().start();
      await said(vm, BOOTED);
      console.log(`from start to the boot sector: ${Date.now() - began} ms`);
      vm.console.type(Ask.RESET);
      await said(vm, BOOTED, 2);
      await vm.machine().reset();
      await said(vm, BOOTED, 3);
      vm.console.type(Ask.POWER_OFF);
      expect(await vm.machine().ended).toEqual({ cause: 'guest-shutdown', status: 0 });
    },
    2 * LIMIT_MS,
  );

  test(
    'finds what the machine says of itself, and leaves it where a kernel looks',
    async () => {
      const vm = await build({ smbios: { system: { serial: 'number 7' } } });
      vm.machine().start();
      await said(vm, BOOTED);
      const { lifecycle } = vm.machine();
      await lifecycle.stopForCheckpoint();
      const low = lifecycle.ram.read(0xf0000, 0x10000)!;
      const entry = low.subarray(low.indexOf('_SM_'));
      const [length, address] = [entry.readUInt16LE(0x16), entry.readUInt32LE(0x18)];
      expect(lifecycle.ram.read(address, length)?.includes('number 7\0')).toBe(true);
    },
    LIMIT_MS,
  );

  test(
    'with two processors, and more than 3 GiB of RAM',
    async () => {
      const vm = await build({ cpus: 2, ramBytes: 3584 * 2 ** 20 });
      vm.machine().start();
      await said(vm, BOOTED);
      expect(count(vm, BOOTED)).toBe(1);
    },
    2 * LIMIT_MS,
  );

  test(
    'a guest that it booted goes on elsewhere, and boots again there without a file of its own',
    async () => {
      const first = await build();
      first.machine().start();
      await said(first, BOOTED);
      const a = first.machine().lifecycle;
      await a.stopForCheckpoint();
      const hash = a.ram.hash();
      const second = await build({ incoming: 'tcp:0:0' });
      first.carryTo(second);
      const b = second.machine().lifecycle;
      expect(b.ram.hash()).toBe(hash);
      b.goOnAfterFailover({ run: true });
      second.console.type(Ask.ECHO);
      await said(second, ECHOED);
      second.console.type(Ask.RESET);
      await said(second, BOOTED);
    },
    2 * LIMIT_MS,
  );

  test(
    'boots an IDE disk, and again elsewhere',
    async () => {
      const drives = [
        { id: 'disk0', interface: 'ide', options: { driver: 'memory', size: '1M' } } as const,
      ];
      const first = await build({ drives });
      first.machine().start();
      await said(first, BOOTED);
      const a = first.machine().lifecycle;
      await a.stopForCheckpoint();
      const second = await build({ drives, incoming: 'tcp:0:0' });
      first.carryTo(second);
      second.machine().lifecycle.goOnAfterFailover({ run: true });
      second.console.type(Ask.RESET);
      await said(second, BOOTED);
    },
    2 * LIMIT_MS,
  );

  test(
    'boots a CD-ROM, and again elsewhere',
    async () => {
      const options = { driver: 'memory', size: '48K', media: 'cdrom' };
      const drives = [{ id: 'disk0', interface: 'ide', options } as const];
      const first = await build({ drives }, cdrom);
      first.machine().start();
      await said(first, BOOTED);
      await first.machine().lifecycle.stopForCheckpoint();
      const second = await build({ drives, incoming: 'tcp:0:0' }, cdrom);
      first.carryTo(second);
      second.machine().lifecycle.goOnAfterFailover({ run: true });
      second.console.type(Ask.RESET);
      await said(second, BOOTED);
    },
    2 * LIMIT_MS,
  );

  test(
    '-no-reboot: a reset by the guest ends it',
    async () => {
      const vm = await build({ noReboot: true });
      vm.machine().start();
      await said(vm, BOOTED);
      vm.console.type(Ask.RESET);
      expect(await vm.machine().ended).toEqual({ cause: 'guest-reset', status: 0 });
      expect(count(vm, BOOTED)).toBe(1);
    },
    2 * LIMIT_MS,
  );

  test(
    'starts the kernel of -kernel: each part is where its header says, again after a reset, and ' +
      'on another machine',
    async () => {
      const given = { bios: 'bios-256k.bin', kernel, initrd, append: 'quiet colo.x=1' };
      const first = await build(given);
      first.machine().start();
      await said(first, KERNEL_RUNS);
      const { lifecycle } = first.machine();
      await lifecycle.stopForCheckpoint();
      const { ram } = lifecycle;
      const header = ram.read(0x1_0000, 0x300)!;
      const [cmdline, ramdisk] = [header.readUInt32LE(0x228), header.readUInt32LE(0x218)];
      expect(header.readUInt32LE(0x21c)).toBe(archive.length);
      expect(ram.read(cmdline, 15)!.toString()).toBe('quiet colo.x=1\0');
      expect(ram.read(ramdisk, archive.length)!.equals(archive)).toBe(true);
      expect(ram.read(0x10_0000, payload.length)!.equals(payload)).toBe(true);
      const second = await build({ ...given, incoming: 'tcp:0:0' });
      first.carryTo(second);
      second.machine().lifecycle.goOnAfterFailover({ run: true });
      second.console.type(Ask.RESET);
      await said(second, KERNEL_RUNS);
      expect([count(first, BOOTED), count(second, BOOTED)]).toEqual([0, 0]);
    },
    2 * LIMIT_MS,
  );

  test('a kernel that is no bzImage is refused', async () => {
    const elf = join(folder, 'vmlinux');
    writeFileSync(elf, Buffer.from('\x7fELF' + 'x'.repeat(100), 'latin1'));
    await expect(build({ bios: 'bios-256k.bin', kernel: elf })).rejects.toThrow(
      `-kernel ${elf} with -bios: firmware starts a bzImage`,
    );
  });
});
