/**
 * Goal: a Vm is built from ports alone, acts through them, and leaves nothing open when it cannot
 * be built or has ended. Method: a host of fakes that remember, and a CPU that does nothing.
 */
import { VmError } from '../../../src/base/errors.js';
import type { Tap } from '../../../src/host/ports.js';
import { checkSpec } from '../../../src/machine/check-spec.js';
import type { MachineSpec } from '../../../src/machine/spec.js';
import { standingOf } from '../../../src/vm/standing.js';
import type { VmHost } from '../../../src/vm/host.js';
import { Vm } from '../../../src/vm/vm.js';
import { yankInstances } from '../../../src/vm/yank.js';
import { FakeVm } from '../../support/fake-vm.js';
import { SimNode } from '../../support/sim/node.js';
import { World } from '../../support/sim/world.js';

const spec: MachineSpec = {
  name: 'vm',
  role: 'primary',
  ramBytes: 32 << 20,
  cpus: 1,
  accel: 'soft',
  append: '',
  blockdevs: [],
  drives: [],
  netdevs: [{ type: 'tap', id: 'hn0', script: '/up', downscript: '/down' }],
  devices: [],
  objects: [],
  chardevs: [{ id: 'log', backend: { kind: 'ringbuf', sizeBytes: 4096 } }],
  serials: ['log'],
  monitors: [],
  incoming: 'defer',
  startPaused: false,
  noShutdown: false,
  noReboot: false,
};

function fakeHost() {
  const world = new World(1);
  const calls: string[] = [];
  const node = new SimNode('n', world);
  const tap = (): Tap => ({
    ifname: 'tap0',
    onFrame: () => undefined,
    write: () => true,
    pause: () => undefined,
    resume: () => undefined,
    dispose: () => void calls.push('tap closed'),
  });
  const host = {
    clock: node.clock,
    files: node.files,
    entropy: { fill: (bytes: Uint8Array) => void bytes.fill(1) },
    sockets: {},
    shell: {},
    taps: { open: tap },
    programs: {
      executable: async () => true,
      run: async (path: string, args: readonly string[]) =>
        void calls.push(`${path} ${args.join(' ')}`),
    },
    accelerators: {
      kvmPresent: false,
      choose: () => ({ name: 'soft', why: 'a test' }),
      create: () => {
        calls.push('cpu');
        const cpu = new FakeVm();
        return Object.assign(cpu, { dispose: () => void calls.push('cpu closed') });
      },
    },
    stdio: {},
    process: { pid: 7, version: { major: 1, minor: 2, micro: 3, package: 'colo' } },
    note: (line: string) => void calls.push(line),
    step: () => undefined,
  } as unknown as VmHost;
  return { host, calls, world };
}

test('builds, and ends in order', async () => {
  const { host, calls, world } = fakeHost();
  const vm = await Vm.build(checkSpec(spec), host);
  expect(calls).toEqual(['/up tap0', 'cpu']);
  await vm.listen();
  await vm.start();
  expect([vm.machine.runState, vm.network.ids, vm.chardevs.info()[0].used]).toEqual([
    'inmigrate',
    ['hn0'],
    true,
  ]);
  expect(standingOf(vm)).toMatchObject({ role: 'alone', pair: 'alone', peer: undefined });
  expect(yankInstances(vm)).toEqual([]);
  const ended = vm.machine.ended;
  vm.quit();
  await world.run(1);
  expect(await ended).toEqual({ cause: 'host-qmp-quit', status: 0 });
  let last: readonly string[] = [];
  vm.endsLast({ dispose: () => (last = [...calls]) });
  await vm.dispose();
  expect(calls.slice(2)).toEqual(['cpu closed', '/down tap0', 'tap closed']);
  expect(last).toContain('cpu closed');
});

test('what cannot be built leaves nothing open', async () => {
  const { host, calls } = fakeHost();
  const { accelerators } = host;
  const broken = {
    ...host,
    accelerators: {
      ...accelerators,
      create: () => {
        throw new VmError('no memory');
      },
    },
  };
  await expect(Vm.build(checkSpec(spec), broken)).rejects.toThrow('no memory');
  await new Promise(resolve => setImmediate(resolve));
  expect(calls).toEqual(['/up tap0', '/down tap0', 'tap closed']);
});

test('a script of a tap that fails takes the tap along', async () => {
  const { host, calls } = fakeHost();
  const run = () => Promise.reject(new VmError('it ended with code 1'));
  const broken = { ...host, programs: { ...host.programs, run } };
  await expect(Vm.build(checkSpec(spec), broken)).rejects.toThrow(
    'network script /up tap0 failed: it ended with code 1',
  );
  expect(calls).toEqual(['tap closed']);
});

test('an object that cannot be made, late, ends all that is there', async () => {
  const { host, calls } = fakeHost();
  const objects = [{ type: 'filter-dump', id: 'd', properties: { netdev: 'nope', file: '/d' } }];
  await expect(Vm.build(checkSpec({ ...spec, objects }), host)).rejects.toThrow(
    '-object filter-dump,id=d: ',
  );
  await new Promise(resolve => setImmediate(resolve));
  expect(calls.slice(2)).toEqual(['cpu closed', '/down tap0', 'tap closed']);
});
