/**
 * A VM for tests of words: its block layer, objects' types and answers are the real ones, and what
 * commands would do is only remembered.
 */
import { VcpuImage } from '../../src/accel/vcpu-image.js';
import { VmError } from '../../src/base/errors.js';
import { Events } from '../../src/base/events.js';
import type { BlockInfo } from '../../src/block/layer/query.js';
import { BlockLayer } from '../../src/block/layer/layer.js';
import type { ColoInfo } from '../../src/colo/info.js';
import { checkHeartbeat } from '../../src/colo/options.js';
import type { MigrationData } from '../../src/migration/status.js';
import type { QmpEvents, RunState } from '../../src/qapi/types.js';
import { TraceSwitches } from '../../src/vm/traces.js';
import type { Vm } from '../../src/vm/vm.js';

/** What the VM is, as a test may change it. */
export interface Now {
  runState: RunState;
  migration: Partial<MigrationData>;
  colo: Partial<ColoInfo>;
}
export type RememberingVm = Vm & { readonly calls: string[]; readonly now: Now };

const idle = { bytes: 0, operations: 0, ns: 0, failed: 0, invalid: 0 };
const disk: BlockInfo = {
  device: 'disk0',
  cache: 'writeback',
  'io-status': 'ok',
  'in-flight': 0,
  removable: false,
  inserted: {
    'node-name': 'node0',
    drv: 'raw',
    ro: false,
    length: 1048576,
    direct: false,
    detectZeroes: false,
    backingDepth: 0,
    filename: '/images/a.img',
    users: [],
    children: [],
    bitmaps: [],
    details: { mode: 'primary' },
  },
};

export function rememberingVm(): RememberingVm {
  const calls: string[] = [];
  const told = (what: string, given?: unknown) =>
    void calls.push(given === undefined ? what : `${what} ${JSON.stringify(given)}`);
  const events = new Events<QmpEvents>();
  const now: Now = { runState: 'running', migration: { status: 'none' }, colo: {} };
  const clock = { nowMs: () => 0, wallMs: () => 0, timer: () => ({ dispose: () => undefined }) };
  const vm = {
    calls,
    now,
    ageMs: 61_000,
    spec: { name: 'test', ramBytes: 256 << 20, incoming: 'defer' },
    host: {
      clock,
      accelerators: { kvmPresent: true },
      process: {
        pid: 4711,
        version: { major: 0, minor: 1, micro: 0, package: 'colo' },
        logInto: (path: string) => told('log-into', path),
      },
      note: () => undefined,
    },
    quit: () => told('quit'),
    machine: machineOf(now, events, told),
    colo: coloOf(now, told),
    migrationTls: { creds: '', hostname: '' },
    block: blockOf(told),
    network: {
      ids: ['hn0'],
      netdevs: [
        {
          info: () => ({
            id: 'hn0',
            type: 'tap',
            link: 'up',
            properties: { ifname: 'tap0' },
            filters: [],
          }),
        },
      ],
      setLink: (id: string, up: boolean) => told('set-link', [id, up]),
      add: async (netdev: unknown) => told('netdev-add', netdev),
      del: (id: string) => told('netdev-del', id),
      forwards: (id?: string) => ({
        config: { net: '10.0.2.0', mask: '255.255.255.0', dhcpStart: '10.0.2.15' },
        add: (rule: unknown) => told('hostfwd-add', [id, rule]),
        remove: (from: unknown) => {
          told('hostfwd-remove', [id, from]);
          return true;
        },
      }),
      announce: (schedule: unknown, ids: unknown) => told('announce', [schedule, ids]),
    },
    chardevs: {
      yankable: () => [],
      yank: () => undefined,
      info: () => [{ id: 'serial0', label: 'unix:/run/s,server=on', connected: false, used: true }],
      add: async (id: string, backend: unknown) => told('chardev-add', [id, backend]),
      remove: (id: string) => told('chardev-remove', id),
      ringbuf: (id: string) => ({
        read: (n: number) => Buffer.from(`${id} \x1b${n}`),
        write: (bytes: Uint8Array) => told('ringbuf-write', Buffer.from(bytes).toString()),
      }),
    },
    objects: {
      list: () => [{ id: 'f0', type: 'filter-buffer', users: [] }],
      objectAdd: async (...given: unknown[]) => told('object-add', given),
      objectAddText: async (text: string) => told('object-add', text),
      objectDel: (id: string) => told('object-del', id),
      properties: () => [{ name: 'status', type: 'on|off' }],
      get: () => 'on',
      set: (...given: unknown[]) => told('object-set', given),
    },
    traces: new TraceSwitches(() => undefined),
  };
  return vm as unknown as RememberingVm;
}

type Told = (what: string, given?: unknown) => void;

function machineOf(now: Now, events: Events<QmpEvents>, told: Told) {
  const ram = {
    read: (at: number, length: number) =>
      at < 0x10000 ? Buffer.from(Array.from({ length }, (_, i) => (at + i) & 0xff)) : undefined,
    readU32: () => undefined,
    readU64: () => undefined,
  };
  const cpu = new VcpuImage(Buffer.alloc(8192));
  cpu.setReg('rip', 0x1000n);
  // Paging is on, and nothing is mapped.
  cpu.setControl('cr0', 0x8000_0001n);
  cpu.setControl('efer', 0x500n);
  return {
    events,
    get runState() {
      return now.runState;
    },
    get running() {
      return now.runState === 'running';
    },
    board: { input: inputOf(told) },
    spec: { role: 'primary', incoming: undefined as string | undefined },
    accel: {
      name: 'soft',
      cpuCount: 1,
      ram,
      cpus: [{ save: () => cpu.data }],
      registers: () => 'rip=0000000000000000',
      threadIds: () => [4712],
    },
    lifecycle: { checkpointEvents: false },
    whileStopped: async <T>(fn: () => T) => fn(),
    stop: async () => {
      now.runState = 'paused';
      events.emit('STOP', {});
    },
    cont: async () => {
      now.runState = 'running';
      events.emit('RESUME', {});
    },
    reset: async () => told('reset'),
    powerdown: () => told('powerdown'),
    checkAnnounceable: () => undefined,
    deviceInfo: () => [],
    pciInfo: () => [],
    usbInfo: () => [],
  };
}

const inputOf = (told: Told) => ({
  absolute: true,
  key: (...given: unknown[]) => told('key', given),
  moveBy: (...given: unknown[]) => told('moveBy', given),
  moveTo: (...given: unknown[]) => told('moveTo', given),
  button: (...given: unknown[]) => told('button', given),
  sync: () => told('sync'),
});

/** Protected, and nothing of COLO's own to tell. */
function coloOf(now: Now, told: Told) {
  const capability = new Map([
    ['x-colo', false],
    ['events', false],
  ]);
  const heartbeat = { heartbeatMs: 1000, peerTimeoutMs: 5000 };
  const pace = { checkpointDelayMs: 20_000, checkpointGapMs: 500 };
  return {
    capability,
    heartbeat,
    pace,
    mode: 'primary',
    waitsForWord: false,
    syncFrom: undefined,
    parameters: {
      maxBandwidth: 134_217_728,
      downtimeLimitMs: 300,
      xbzrleCacheBytes: 67_108_864,
    },
    migration: { busy: true },
    info: () => ({
      mode: 'none',
      'last-mode': 'none',
      reason: 'none',
      pair: 'protected',
      peer: '10.0.0.2:8888',
      ...now.colo,
    }),
    query: () => now.migration,
    setCapability: (name: string, on: boolean) => void capability.set(name, on),
    setPace: (given: Partial<typeof pace>) => void Object.assign(pace, given),
    setHeartbeat: (given: Partial<typeof heartbeat>) => {
      const heartbeatMs = given.heartbeatMs ?? heartbeat.heartbeatMs;
      const peerTimeoutMs = given.peerTimeoutMs ?? heartbeat.peerTimeoutMs;
      checkHeartbeat({ heartbeatMs, peerTimeoutMs, leaseMs: 10_000 });
      Object.assign(heartbeat, { heartbeatMs, peerTimeoutMs });
    },
    migrate: (uri: string) => told('migrate', uri),
    listen: async (uri: string) => told('incoming', uri),
    load: async (uri: string) => told('incoming', uri),
    cancel: () => told('cancel'),
    yank: () => told('yank'),
    lostHeartbeat: () => {
      throw new VmError("The feature 'colo' is not enabled");
    },
  };
}

/** The real one without a disk: jobs, bitmaps and the graph answer by themselves. */
function blockOf(told: Told): BlockLayer {
  const clock = { nowMs: () => 0, wallMs: () => 0, timer: () => ({ dispose: () => undefined }) };
  const block = new BlockLayer({ clock } as never);
  const backend = {
    id: 'disk0',
    nodeName: 'node0',
    stats: { of: () => idle, highestWrite: 0, idleNs: undefined },
  };
  Object.assign(block, {
    list: () => [{ id: 'disk0', interface: 'virtio', backend }],
    queryBlock: () => [disk],
    queryNamedBlockNodes: () => [],
    activate: async () => undefined,
    nbdServerStart: async (address: unknown) => told('nbd-start', address),
    nbdServerAdd: (given: unknown) => told('nbd-add', given),
    driveAdd: async (options: string, how: unknown) => told('drive-add', [options, how]),
    driveDel: async (id: string) => told('drive-del', id),
    blockdevAdd: async (options: unknown) => told('blockdev-add', options),
    blockdevChange: async (change: unknown) => told('change', change),
    resize: async (name: string, bytes: number) => told('resize', [name, bytes]),
    setThrottle: (id: string, limits: unknown) => told('throttle', [id, limits]),
    nbd: {
      address: { kind: 'tcp', host: '127.0.0.1', port: 40123 },
      describe: () => [{ name: 'disk0', writable: true, node: 'node0', clients: 1 }],
      stop: () => Promise.reject(new VmError('NBD server not running')),
    },
  });
  return block;
}
