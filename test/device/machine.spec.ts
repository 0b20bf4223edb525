/**
 * The composed machine: what a spec may not say, that failures leave nothing open, run states,
 * checkpoints, reset and power. CPUs are fakes.
 */
import { beforeEach, describe, expect, test } from '@jest/globals';
import { VmError } from '../../src/base/errors.js';
import { onTrace } from '../../src/base/trace.js';
import { Machine } from '../../src/machine/machine.js';
import type { MachineParts } from '../../src/machine/parts.js';
import { checkSpec } from '../../src/machine/check-spec.js';
import type { MachineSpec } from '../../src/machine/spec.js';
import { BenchClock, settle, TestChar, TestDisk, TestNet } from '../support/device-bench.js';
import { FakeRam } from '../support/fake-ram.js';
import { FakeVm } from '../support/fake-vm.js';

const MIB = 1 << 20;

/** A kernel image that the loader takes. */
function kernel(): Buffer {
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

const base: MachineSpec = {
  name: 'test',
  role: 'primary',
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
const full: Partial<MachineSpec> = {
  drives: [{ id: 'disk0', interface: 'virtio', options: { driver: 'memory', size: '1M' } }],
  netdevs: [{ type: 'tap', id: 'hn0' }],
  devices: [{ model: 'virtio-net-pci', id: 'nic0', properties: { netdev: 'hn0' } }],
  chardevs: [{ id: 'com', backend: { kind: 'null' } }],
  serials: ['com'],
};

/** A vCPU image is a few KiB. */
class ImageVm extends FakeVm {
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

let vm: ImageVm;
let clock: BenchClock;
let disk: TestDisk;
let net: TestNet;
let closed: string[];
let events: string[];
let reports: string[];
let machine: Machine;

function parts(changes: Partial<MachineParts> = {}): MachineParts {
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
      list: () => [{ id: 'disk0', length: disk.length }],
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
async function build(changes: Partial<MachineSpec> = {}): Promise<Machine> {
  machine = await Machine.build(checkSpec({ ...base, ...full, ...changes }), parts());
  for (const name of ['STOP', 'RESUME', 'RESET', 'SHUTDOWN', 'POWERDOWN'] as const)
    machine.events.on(
      name,
      payload => void events.push(`${name} ${'reason' in payload ? payload.reason : ''}`.trim()),
    );
  return machine;
}
beforeEach(() => {
  vm = new ImageVm(new FakeRam(16 * MIB));
  clock = new BenchClock(vm);
  disk = new TestDisk();
  net = new TestNet();
  closed = [];
  events = [];
  reports = [];
});

describe('a spec that cannot be', () => {
  test.each<[Partial<MachineSpec>, string]>([
    [{ kernel: undefined }, '-kernel is missing: this machine has no firmware'],
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
      [1, 'virtio-disk0', 17, 2],
      [2, 'nic0', 18, 2],
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

  test('a vCPU that cannot go on: internal-error, told; only a reset helps', async () => {
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

  test('system_reset: chips, devices and RAM as at the start, and it goes on', async () => {
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
  vm = new ImageVm(new FakeRam(16 * MIB));
  clock = new BenchClock(vm);
  await build({ noReboot: true });
  machine.start();
  await settle();
  vm.out(0x64, 0xfe);
  clock.advance(1);
  expect(await machine.ended).toEqual({ cause: 'guest-reset', status: 0 });
});

test('isa-debug-exit ends with 2n+1', async () => {
  await build({ devices: [{ model: 'isa-debug-exit', id: 'x', properties: { iobase: 0x501 } }] });
  machine.start();
  await settle();
  vm.out(0x501, 3);
  clock.advance(1);
  expect((await machine.ended).status).toBe(7);
});

describe('checkpoints', () => {
  beforeEach(async () => {
    await build();
    machine.start();
    await settle();
    events.length = 0;
  });

  test('stop, save, resume; STOP and RESUME are told, or not', async () => {
    const { lifecycle } = machine;
    await lifecycle.stopForCheckpoint();
    expect([machine.runState, vm.running]).toEqual(['colo', false]);
    const blob = lifecycle.saveDevices();
    lifecycle.resumeAfterCheckpoint();
    expect([machine.runState, vm.running, events]).toEqual(['running', true, ['STOP', 'RESUME']]);
    lifecycle.checkpointEvents = false;
    await lifecycle.stopForCheckpoint();
    lifecycle.parseDevices(blob).apply();
    lifecycle.resumeAfterCheckpoint();
    expect(events.length).toBe(2);
  });

  test('cont is refused meanwhile, stop is remembered, reset too', async () => {
    const { lifecycle } = machine;
    await lifecycle.stopForCheckpoint();
    await expect(machine.cont()).rejects.toThrow('COLO checkpoint in progress');
    await machine.stop();
    await machine.reset();
    expect(machine.runState).toBe('colo');
    lifecycle.resumeAfterCheckpoint();
    await settle();
    expect([machine.runState, vm.running, events]).toEqual([
      'paused',
      false,
      ['STOP', 'RESET host-qmp-system-reset'],
    ]);
  });

  test('STOP and RESUME stay in pairs: a stop during a silent checkpoint is told after it', async () => {
    const { lifecycle } = machine;
    lifecycle.checkpointEvents = false;
    await lifecycle.stopForCheckpoint();
    await machine.stop();
    lifecycle.resumeAfterCheckpoint();
    expect([machine.runState, events]).toEqual(['paused', ['STOP']]);
  });

  test(
    'a look stops the guest and lets it go on; it counts as running, and nobody is ' + 'told',
    async () => {
      const states: string[] = [];
      machine.onRunState(state => void states.push(state));
      const seen = await machine.whileStopped(() => [vm.running, machine.runState]);
      expect([seen, vm.running, states, events]).toEqual([[false, 'running'], true, [], []]);
      await machine.stop();
      expect([await machine.whileStopped(() => vm.running), vm.running]).toEqual([false, false]);
    },
  );

  test(
    'looks, stop, cont, reset and checkpoints at the same time: the last word ' + 'counts',
    async () => {
      const { lifecycle } = machine;
      const still: boolean[] = [];
      const look = () => machine.whileStopped(() => void still.push(vm.running));
      await Promise.all([look(), look(), machine.reset(), look()]);
      expect([machine.runState, vm.running]).toEqual(['running', true]);
      await Promise.all([look(), lifecycle.stopForCheckpoint(), look()]);
      expect([machine.runState, vm.running]).toEqual(['colo', false]);
      lifecycle.resumeAfterCheckpoint();
      await Promise.all([look(), machine.stop(), look()]);
      expect([machine.runState, vm.running]).toEqual(['paused', false]);
      await Promise.all([machine.cont(), look()]);
      await Promise.all([look(), machine.stop(), machine.cont()]);
      expect([machine.runState, vm.running]).toEqual(['running', true]);
      expect(still).toEqual(Array(9).fill(false).slice(0, still.length));
      expect(events).toEqual([
        'RESET host-qmp-system-reset',
        'STOP',
        'RESUME',
        'STOP',
        'RESUME',
        'STOP',
        'RESUME',
      ]);
    },
  );

  test(
    'a disk that does not stop fails the checkpoint by name, and the machine goes on when it ' +
      'does',
    async () => {
      const { lifecycle } = machine;
      disk.held = [];
      const blk = machine.board.devices.find('virtio-disk0')!;
      const stuck = new Promise<void>(resolve => (disk.held = [resolve]));
      blk.pause = () => stuck;
      const stopping = lifecycle.stopForCheckpoint();
      await settle();
      clock.advance(10_001);
      await expect(stopping).rejects.toThrow('did not stop within 10 s: virtio-disk0');
      lifecycle.resumeAfterCheckpoint();
      expect(vm.running).toBe(false);
      disk.release();
      await settle();
      expect([machine.runState, vm.running]).toEqual(['running', true]);
    },
  );

  test('a bad blob is refused by name and touches nothing', async () => {
    const { lifecycle } = machine;
    await lifecycle.stopForCheckpoint();
    const blob = lifecycle.saveDevices();
    const bad = Buffer.from(blob);
    bad[bad.indexOf('isa-serial') + 40] ^= 1;
    expect(() => lifecycle.parseDevices(bad)).toThrow(/device state: serial0: checksum/);
    expect(lifecycle.saveDevices().equals(blob)).toBe(true);
  });

  test('a secondary takes over: it runs, whatever -S said, and guest time has gone on', async () => {
    await machine.lifecycle.stopForCheckpoint();
    vm.clockNs = 5_000_000_000n;
    const blob = machine.lifecycle.saveDevices();
    vm = new ImageVm(new FakeRam(16 * MIB));
    clock = new BenchClock(vm);
    net = new TestNet();
    const secondary = await build({
      kernel: undefined,
      append: '',
      incoming: 'tcp:0:8888',
      startPaused: true,
    });
    await secondary.lifecycle.stopForCheckpoint();
    const staged = secondary.lifecycle.parseDevices(blob);
    clock.advance(250);
    staged.apply();
    expect(vm.clockNs).toBe(5_250_000_000n);
    secondary.lifecycle.runAfterFailover();
    expect([secondary.runState, vm.running, net.running, events]).toEqual([
      'running',
      true,
      true,
      ['STOP', 'RESUME', 'announce'],
    ]);
  });

  test(
    'a guest that came by migration is announced when it runs, once, and not ' + 'before',
    async () => {
      for (const startPaused of [true, false]) {
        for (const ran of [true, false]) {
          vm = new ImageVm(new FakeRam(16 * MIB));
          clock = new BenchClock(vm);
          net = new TestNet();
          events.length = 0;
          const there = await build({
            kernel: undefined,
            append: '',
            incoming: 'tcp:0:8888',
            startPaused,
          });
          const announced = () => events.filter(event => event === 'announce').length;
          there.lifecycle.runAfterMigration(ran);
          expect([startPaused, ran, announced()]).toEqual([
            startPaused,
            ran,
            ran && !startPaused ? 1 : 0,
          ]);
          await there.cont();
          await there.stop();
          await there.cont();
          expect([startPaused, ran, announced()]).toEqual([startPaused, ran, 1]);
        }
      }
    },
  );

  test('run state changes are traced and told', async () => {
    const seen: string[] = [];
    const trace = onTrace(
      'colo_vm_state_change',
      e => void seen.push(`${e.fields.old}>${e.fields.new}`),
    );
    machine.onRunState((state, previous) => void seen.push(`${previous} ${state}`));
    await machine.lifecycle.stopForCheckpoint();
    machine.lifecycle.resumeAfterCheckpoint();
    trace.dispose();
    expect(seen).toEqual(['running>colo', 'running colo', 'colo>running', 'colo running']);
  });
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
  test(
    'the guest stands still until cont; a second failure meanwhile changes ' + 'nothing',
    async () => {
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
    },
  );

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

test('a device that breaks: a line and an event, and the VM goes on', async () => {
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
