/**
 * Goal: a Vm is built from ports alone, acts through them, and leaves nothing open when it cannot
 * be built or has ended. Method: the simulated host, whose taps, scripts and CPU are written down.
 */
import { VmError } from '../../../src/base/errors.js';
import { checkSpec } from '../../../src/machine/check-spec.js';
import type { MachineSpec } from '../../../src/machine/spec.js';
import { standingOf } from '../../../src/vm/standing.js';
import { Vm } from '../../../src/vm/vm.js';
import { yankInstances } from '../../../src/vm/yank.js';
import { SimAccel, simAccelerators } from '../../support/sim/accel.js';
import { SimHost } from '../../support/sim/host.js';

const spec: MachineSpec = {
  name: 'vm',
  role: 'primary',
  machineType: 'pc-i440fx-7.2',
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

function simulated() {
  const calls: string[] = [];
  const host = SimHost.alone({
    accelerators: simAccelerators(({ cpu, ramBytes }) => {
      calls.push('cpu');
      const accel = new SimAccel(host.node, ramBytes, cpu);
      return Object.assign(accel, { dispose: () => void calls.push('cpu closed') });
    }),
  });
  for (const path of ['/up', '/down']) host.files.storage.put(path, Buffer.alloc(0));
  host.onRun = line => void calls.push(line);
  const { open } = host.taps;
  host.taps.open = name => {
    const tap = open.call(host.taps, name);
    return Object.assign(tap, { dispose: () => void calls.push('tap closed') });
  };
  return { host, calls, world: host.node.world };
}

test('builds, and ends in order', async () => {
  const { host, calls, world } = simulated();
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
  const { host, calls } = simulated();
  host.accelerators.create = () => {
    throw new VmError('no memory');
  };
  await expect(Vm.build(checkSpec(spec), host)).rejects.toThrow('no memory');
  await new Promise(resolve => setImmediate(resolve));
  expect(calls).toEqual(['/up tap0', '/down tap0', 'tap closed']);
});

test('a script of a tap that fails takes the tap along', async () => {
  const { host, calls } = simulated();
  host.programs.run = () => Promise.reject(new VmError('it ended with code 1'));
  await expect(Vm.build(checkSpec(spec), host)).rejects.toThrow(
    'network script /up tap0 failed: it ended with code 1',
  );
  expect(calls).toEqual(['tap closed']);
});

test('an object that cannot be made, late, ends all that is there', async () => {
  const { host, calls } = simulated();
  const objects = [{ type: 'filter-dump', id: 'd', properties: { netdev: 'nope', file: '/d' } }];
  await expect(Vm.build(checkSpec({ ...spec, objects }), host)).rejects.toThrow(
    '-object filter-dump,id=d: ',
  );
  await new Promise(resolve => setImmediate(resolve));
  expect(calls.slice(2)).toEqual(['cpu closed', '/down tap0', 'tap closed']);
});
