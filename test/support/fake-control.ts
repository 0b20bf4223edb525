/** A machine that does nothing but remember what it was told. */
import { VmError } from '../../src/base/errors.js';
import { Events } from '../../src/base/events.js';
import { TraceSwitches } from '../../src/vm/traces.js';
import type { Capability, VmControl } from '../../src/monitor/vm.js';
import type { QmpEvents, RunState } from '../../src/qapi/types.js';

export interface FakeControl extends VmControl {
  runState: RunState;
  readonly calls: string[];
}

export function fakeControl(
  lacks: {
    block?: true;
    migration?: true;
    colo?: true;
    network?: true;
    inspect?: true;
    process?: true;
    chardevs?: true;
    objects?: true;
    traces?: true;
  } = {},
): FakeControl {
  const calls: string[] = [];
  const events = new Events<QmpEvents>();
  let capabilities: Capability[] = [
    { capability: 'x-colo', state: false },
    { capability: 'events', state: false },
  ];
  let parameters: Record<string, number | boolean | string> = {
    'x-checkpoint-delay': 20000,
    'max-bandwidth': 134217728,
  };
  const told = (what: string, given?: unknown) =>
    void calls.push(given === undefined ? what : `${what} ${JSON.stringify(given)}`);
  const vm: FakeControl = {
    name: 'test',
    uuid: '00000000-0000-0000-0000-000000000000',
    version: { major: 0, minor: 1, micro: 0, package: 'colo' },
    kvm: { present: true, enabled: false },
    runState: 'running',
    events,
    calls,
    stop: async () => {
      vm.runState = 'paused';
      events.emit('STOP', {});
    },
    cont: () => {
      vm.runState = 'running';
      events.emit('RESUME', {});
    },
    reset: () => told('reset'),
    powerdown: () => told('powerdown'),
    quit: () => told('quit'),
    migration: lacks.migration
      ? undefined
      : {
          start: async uri => told('migrate', uri),
          incoming: async uri => told('incoming', uri),
          cancel: () => told('cancel'),
          info: () => ({}),
          capabilities: () => capabilities,
          setCapabilities: changes => {
            capabilities = capabilities.map(
              c => changes.find(d => d.capability === c.capability) ?? c,
            );
          },
          parameters: () => parameters,
          setParameters: changes => {
            parameters = { ...parameters, ...changes };
          },
        },
    colo: lacks.colo
      ? undefined
      : {
          status: () => ({ mode: 'none', 'last-mode': 'none', reason: 'none' }),
          statistics: () => undefined,
          lostHeartbeat: () => Promise.reject(new VmError("The feature 'colo' is not enabled")),
        },
    block: lacks.block
      ? undefined
      : {
          nbdServerStart: async address => told('nbd-start', address),
          nbdServerAdd: async given => told('nbd-add', given),
          nbdServerStop: () => Promise.reject(new VmError('NBD server not running')),
          nbdServer: () => ({
            address: { type: 'inet', host: '127.0.0.1', port: 40123 },
            exports: [{ name: 'disk0', writable: true, node: 'node0', clients: 1 }],
          }),
          devices: ['disk0'],
          driveAdd: async (options, how) => told('drive-add', [options, how]),
          driveDel: async id => told('drive-del', id),
          blockdevAdd: async options => told('blockdev-add', options),
          changeChildren: async change => told('change', change),
          info: () => [
            {
              device: 'disk0',
              nodeName: 'node0',
              driver: 'raw',
              file: '/images/a.img',
              readOnly: false,
              sizeBytes: 1048576,
              cache: { writeback: true, direct: false, 'no-flush': false },
              detectZeroes: false,
              backingDepth: 0,
              ioStatus: 'ok',
              children: [],
              bitmaps: [],
              details: ['mode=primary'],
            },
          ],
          stats: () => [],
          resize: async (name, bytes) => told('resize', [name, bytes]),
          setThrottle: (id, limits) => told('throttle', [id, limits]),
          nodes: () => [],
        },
    network: lacks.network
      ? undefined
      : {
          ids: ['hn0'],
          info: () => ['hn0: tap, ifname=tap0'],
          setLink: (id, up) => told('set-link', [id, up]),
          add: async netdev => told('netdev-add', netdev),
          del: id => told('netdev-del', id),
          announce: (schedule, ids) => told('announce', [schedule, ids]),
        },
    chardevs: lacks.chardevs
      ? undefined
      : {
          yankable: () => [],
          yank: () => undefined,
          info: () => [
            { id: 'serial0', label: 'unix:/run/s,server=on', connected: false, used: true },
          ],
          add: async (id, backend) => told('chardev-add', [id, backend]),
          remove: id => told('chardev-remove', id),
          ringbuf: id => ({
            read: n => Buffer.from(`${id} \x1b${n}`),
            write: bytes => told('ringbuf-write', Buffer.from(bytes).toString()),
          }),
        },
    objects: lacks.objects
      ? undefined
      : {
          list: () => [{ id: 'f0', type: 'filter-buffer', users: [] }],
          objectAdd: async (type, id, properties) => told('object-add', [type, id, properties]),
          objectAddText: async text => told('object-add', text),
          objectDel: id => told('object-del', id),
          properties: () => [{ name: 'status', type: 'on|off' }],
          get: () => 'on',
          set: (id, property, value) => told('object-set', [id, property, value]),
        },
    yank: { instances: () => [{ type: 'migration' }], yank: instances => told('yank', instances) },
    traces: lacks.traces ? undefined : new TraceSwitches(() => undefined),
    process: lacks.process
      ? undefined
      : {
          pid: 4711,
          ageMs: 61_000,
          role: 'primary',
          peer: '10.0.0.2:8888',
          isProtected: true,
          pair: 'protected',
          why: undefined,
          sinceMs: 42_000,
          lastCheckpointMs: 90,
          ramBytes: 256 << 20,
          logInto: path => told('log-into', path),
        },
    inspect: lacks.inspect
      ? undefined
      : {
          cpus: () => [{ index: 0, threadId: 4712 }],
          look: async fn =>
            fn({
              registers: () => 'rip=0000000000000000',
              register: name => (name === 'rip' ? 0x1000n : undefined),
              virtualMemory: () => undefined,
              mappedPages: () => undefined,
            }),
          physicalMemory: (at, length) =>
            at < 0x10000n
              ? Buffer.from(Array.from({ length }, (_, i) => (Number(at) + i) & 0xff))
              : undefined,
          devices: () => [],
          pci: () => [],
        },
  };
  return vm;
}
