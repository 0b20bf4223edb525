/**
 * The composed machine: what a spec may not say, that failures leave nothing open, run states,
 * checkpoints, reset and power. CPUs are fakes.
 */
import { beforeEach, describe, expect, test } from '@jest/globals';
import { VmError } from '../../src/base/errors.js';
import { Machine } from '../../src/machine/machine.js';
import { checkSpec } from '../../src/machine/check-spec.js';
import type { MachineSpec } from '../../src/machine/spec.js';
import { settle } from '../support/device-bench.js';
import {
  newHost,
  MIB,
  base,
  full,
  vm,
  clock,
  disk,
  net,
  closed,
  events,
  reports,
  machine,
  parts,
  build,
  newBench,
} from '../support/machine-bench.js';

beforeEach(newBench);

describe('a spec that cannot be', () => {
  test.each<[Partial<MachineSpec>, string]>([
    [
      { kernel: undefined, append: '' },
      'there is no firmware to boot a disk with: SeaBIOS was not found',
    ],
    [
      { kernel: undefined, append: '', drives: [] },
      '-kernel is missing, and there is no disk that firmware could boot',
    ],
    [{ kernel: undefined, append: '', bios: 'nowhere' }, '-bios nowhere: ENOENT: no such file'],
    [{ bios: 'x' }, '-bios x: ENOENT: no such file'],
    [{ kernel: 'nowhere' }, '-kernel nowhere: ENOENT: no such file'],
    [{ initrd: 'nowhere' }, '-initrd nowhere: ENOENT: no such file'],
    [{ ramBytes: 15 * MIB }, '-m: 15 MiB is not a whole number from 16'],
    [{ ramBytes: 16 * MIB + 1 }, '-m:'],
    [{ cpus: 9 }, '-smp 9: machines have 1 to 8 vCPUs'],
    [{ kernel: undefined, incoming: 'tcp:0:1', initrd: 'x' }, '-initrd without -kernel'],
    [
      { devices: [{ model: 'virtio-net-pci', id: 'nic0', properties: { netdev: 'hn9' } }] },
      "-device virtio-net-pci,id=nic0: there is no netdev 'hn9'",
    ],
    [
      { devices: [{ model: 'virtio-blk-pci', id: 'b', properties: { drive: 'disk0' } }] },
      "-device virtio-blk-pci,id=b: drive 'disk0' is taken by -device " +
        'virtio-blk-pci,id=virtio-disk0',
    ],
    [
      {
        devices: [
          { model: 'virtio-net-pci', id: 'n', properties: { netdev: 'hn0' } },
          { model: 'isa-debug-exit', id: 'n', properties: { iobase: 0x501 } },
        ],
      },
      "-device: there are two with id 'n'",
    ],
    [
      { devices: [{ model: 'isa-debug-exit', id: 'x', properties: { iobase: 0x3f8 } }] },
      '-device isa-debug-exit,iobase=0x3f8: the ports are taken',
    ],
    [
      { devices: [{ model: 'isa-debugcon', id: 'log', properties: { chardev: 'com' } }] },
      "-device isa-debugcon,id=log: chardev 'com' is taken by -serial",
    ],
    [
      { devices: [{ model: 'isa-debugcon', id: 'log', properties: { chardev: 'nobody' } }] },
      "-device isa-debugcon,id=log: there is no chardev 'nobody'",
    ],
    [{ serials: ['nobody'] }, "-serial: there is no chardev 'nobody'"],
    [{ serials: ['com', 'com'] }, "-serial: chardev 'com' is taken by -serial"],
  ])('%#: %p', async (changes, message) => {
    const failure = await build(changes).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(VmError);
    expect((failure as VmError).message).toContain(message);
  });

  test('a failure late in the build closes what was opened, in reverse', async () => {
    const broken = parts({
      openNet: () => Promise.reject(new VmError('-netdev tap,id=hn0: no /dev/net/tun')),
    });
    await expect(Machine.build(checkSpec({ ...base, ...full }), broken)).rejects.toThrow(
      'no /dev/net/tun',
    );
    expect(closed).toEqual(['drives', 'com']);
  });
});

describe('start', () => {
  test('boot data is in RAM, the vCPU at the entry, nothing runs before start', async () => {
    await build();
    expect(vm.ram.read(0xe0000, 8)!.toString()).toBe('RSD PTR ');
    expect(vm.ram.read(0x10010, 4)!.toString('hex')).toBe('5e5e5e5e');
    expect(vm.rip).toBe(BigInt(2 * MIB + 0x200));
    expect([machine.runState, vm.running]).toEqual(['prelaunch', false]);
    machine.start();
    await settle();
    expect([machine.runState, vm.running, net.running]).toEqual(['running', true, true]);
    expect(events).toEqual(['RESUME']);
  });

  test('-S stays, until cont', async () => {
    await build({ startPaused: true });
    machine.start();
    await settle();
    expect(machine.runState).toBe('prelaunch');
    await machine.cont();
    expect(machine.runState).toBe('running');
  });

  test('-incoming waits, and cont is refused', async () => {
    await build({ kernel: undefined, append: '', incoming: 'tcp:0:8888' });
    machine.start();
    expect(machine.runState).toBe('inmigrate');
    await expect(machine.cont()).rejects.toThrow('waits for a migration');
  });

  test('what info qtree and info pci show', async () => {
    await build();
    expect(machine.pciInfo().map(p => [p.slot, p.id, p.irq, p.bars.length])).toEqual([
      [0, 'pci-host', 0, 0],
      [1, 'virtio-disk0', 10, 2],
      [2, 'nic0', 10, 2],
    ]);
    const uart = machine.deviceInfo().find(d => d.id === 'serial0')!;
    expect([uart.model, uart.where, uart.properties[0]]).toEqual([
      'isa-serial',
      'isa 0x3f8 irq 4',
      ['ier', '0x0'],
    ]);
  });

  test('the manifest names every section, disk and netdev', async () => {
    await build();
    const manifest = machine.lifecycle.manifest();
    expect(manifest.devices.map(d => d.id)).toEqual([
      'clock',
      'pci-host',
      'rtc',
      'i8042',
      'port92',
      'acpi-pm',
      'fw_cfg',
      'serial0',
      'virtio-disk0',
      'nic0',
      'chips',
      'cpu0',
    ]);
    expect([manifest.disks, manifest.netdevs]).toEqual([
      [{ id: 'disk0', length: disk.length }],
      ['hn0'],
    ]);
  });
});

describe('stop and cont', () => {
  beforeEach(async () => {
    await build();
    machine.start();
    await settle();
    events.length = 0;
  });

  test('one after the other, and twice', async () => {
    await machine.stop();
    await machine.stop();
    expect([machine.runState, vm.running, net.running]).toEqual(['paused', false, false]);
    await machine.cont();
    await machine.cont();
    expect([machine.runState, vm.running]).toEqual(['running', true]);
    expect(events).toEqual(['STOP', 'RESUME']);
  });

  test('cont while the stop is under way', async () => {
    const stopping = machine.stop();
    const running = machine.cont();
    await Promise.all([stopping, running]);
    expect([machine.runState, vm.running, events]).toEqual(['running', true, ['STOP', 'RESUME']]);
  });

  test('a vCPU that fails: internal-error, reported; only a reset helps', async () => {
    vm.halt({ kind: 'internal-error', message: 'unknown opcode' });
    await settle();
    expect([machine.runState, reports]).toEqual([
      'internal-error',
      ['vCPU stopped: unknown opcode'],
    ]);
    await expect(machine.cont()).rejects.toThrow('Resetting the Virtual Machine is required');
    await machine.reset();
    expect(machine.runState).toBe('paused');
  });
});

describe('reset and power', () => {
  beforeEach(async () => {
    await build();
    machine.start();
    await settle();
    events.length = 0;
  });
  const turn = async () => {
    clock.advance(1);
    await settle();
  };

  test('system_reset: chips, devices and RAM as at the start, and the guest runs', async () => {
    vm.ram.write(0xe0000, Buffer.alloc(8));
    vm.out(0x3ff, 0x55);
    await machine.reset();
    expect([vm.ram.read(0xe0000, 8)!.toString(), vm.in(0x3ff), vm.running]).toEqual([
      'RSD PTR ',
      0,
      true,
    ]);
    expect(events).toEqual(['RESET host-qmp-system-reset']);
  });

  test('a triple fault resets', async () => {
    vm.halt({ kind: 'shutdown' });
    await turn();
    expect([machine.runState, vm.running, events]).toEqual([
      'running',
      true,
      ['RESET guest-reset'],
    ]);
  });

  test('the guest powers off: the machine ends', async () => {
    vm.out(0x604, 0x2000 | (5 << 10), 2);
    expect(machine.runState).toBe('running'); // not inside the access
    await turn();
    expect(await machine.ended).toEqual({ cause: 'guest-shutdown', status: 0 });
    expect([machine.runState, events]).toEqual(['shutdown', ['SHUTDOWN guest-shutdown']]);
  });

  test('the power button', () => {
    vm.out(0x602, 0x0100, 2);
    machine.powerdown();
    expect([vm.levels.get(9), events]).toEqual([true, ['POWERDOWN']]);
  });

  test('a stopped machine takes the power button when it runs again', async () => {
    await machine.stop();
    machine.powerdown();
    expect(vm.in(0x600, 2)).toBe(0);
    await machine.cont();
    expect(vm.in(0x600, 2)).toBe(0x0100);
  });

  test('a guest in COLO: its power-off waits for the last checkpoint', async () => {
    machine.lifecycle.shutdownGate = () => true;
    vm.out(0x604, 0x2000 | (5 << 10), 2);
    await turn();
    expect([machine.runState, machine.lifecycle.shutdownRequested]).toEqual(['running', true]);
    machine.lifecycle.finishShutdown();
    await settle();
    expect(machine.runState).toBe('shutdown');
  });
});

test('-no-shutdown keeps the machine; -no-reboot ends it', async () => {
  await build({ noShutdown: true });
  machine.start();
  await settle();
  vm.out(0x604, 0x2000 | (5 << 10), 2);
  clock.advance(1);
  await settle();
  expect(machine.runState).toBe('shutdown');
  newHost();
  await build({ noReboot: true });
  machine.start();
  await settle();
  vm.out(0x64, 0xfe);
  clock.advance(1);
  expect(await machine.ended).toEqual({ cause: 'guest-reset', status: 0 });
});

test('the guest reads the name of the machine type', async () => {
  await build({ machineType: 'pc-i440fx-2.3' });
  expect(vm.ram.read(0xf0000, 0x1000)!.includes('pc-i440fx-2.3\0')).toBe(true);
});

test('isa-debug-exit ends with 2n+1', async () => {
  await build({ devices: [{ model: 'isa-debug-exit', id: 'x', properties: { iobase: 0x501 } }] });
  machine.start();
  await settle();
  vm.out(0x501, 3);
  clock.advance(1);
  expect((await machine.ended).status).toBe(7);
});

test('dispose stops, closes everything once, and ends', async () => {
  await build();
  machine.start();
  await settle();
  await machine.dispose();
  await machine.dispose();
  expect([vm.running, closed]).toEqual([false, ['net', 'drives', 'com']]);
});

describe('io-error: a disk keeps a failed request', () => {
  test('the guest stands still until cont; a second failure meanwhile changes nothing', async () => {
    await build();
    machine.start();
    await settle();
    machine.lifecycle.ioError();
    machine.lifecycle.ioError();
    await settle();
    expect([machine.runState, vm.running]).toEqual(['io-error', false]);
    await machine.stop();
    expect(machine.runState).toBe('io-error');
    await machine.cont();
    expect([machine.runState, vm.running]).toEqual(['running', true]);
    expect(events).toEqual(['RESUME', 'STOP', 'RESUME']);
  });

  test(
    'in the middle of a checkpoint: after it the guest does not run on; the next checkpoint ' +
      'leaves it so',
    async () => {
      await build();
      machine.start();
      await settle();
      const stopping = machine.lifecycle.stopForCheckpoint();
      machine.lifecycle.ioError();
      await stopping;
      machine.lifecycle.resumeAfterCheckpoint();
      await settle();
      expect([machine.runState, vm.running]).toEqual(['io-error', false]);
      await machine.lifecycle.stopForCheckpoint();
      machine.lifecycle.resumeAfterCheckpoint();
      expect(machine.runState).toBe('io-error');
      await machine.cont();
      expect([machine.runState, vm.running]).toEqual(['running', true]);
    },
  );

  test('while paused, nothing changes', async () => {
    await build();
    machine.start();
    await settle();
    await machine.stop();
    machine.lifecycle.ioError();
    expect(machine.runState).toBe('paused');
  });
});

test('a device that breaks: a line and an event, and the VM runs on', async () => {
  await build();
  await machine.cont();
  const told: unknown[] = [];
  machine.events.on('DEVICE_BROKEN', payload => void told.push(payload));
  const serial = machine.board.devices.find('serial0')!;
  Object.assign(serial, {
    pioRead: () => {
      throw new RangeError('planted');
    },
  });
  expect([vm.in(0x3f8 + 5), vm.in(0x3f8 + 5)]).toEqual([0xff, 0xff]);
  expect([told, reports.length]).toEqual([
    [{ device: 'serial0', reason: 'RangeError: planted' }],
    1,
  ]);
  expect(machine.deviceInfo().find(d => d.id === 'serial0')!.properties[0]).toEqual([
    'failure',
    'RangeError: planted',
  ]);
  await machine.stop();
  await machine.cont();
  await machine.reset();
  expect([machine.runState, machine.running, serial.failure]).toEqual(['running', true, undefined]);
});
