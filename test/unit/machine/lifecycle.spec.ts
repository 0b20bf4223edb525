/**
 * Goal: a machine without a kernel of its own is not reset into nothing, and a guest hears of each
 * pause that it would notice. Method: the lifecycle over parts that do nothing.
 */
import { VmError } from '../../../src/base/errors.js';
import type { LifecyclePorts } from '../../../src/machine/lifecycle-ports.js';
import { VmLifecycle } from '../../../src/machine/lifecycle.js';
import { Events } from '../../../src/base/events.js';

function lifecycle(bootable: boolean, initial = bootable ? 'prelaunch' : 'paused') {
  const told: string[] = [];
  const calls: string[] = [];
  const time = { now: 1000, late: () => undefined as void, turn: (fn: () => void) => fn() };
  const cpu = { stop: async (): Promise<void> => undefined };
  type Reason = { kind: 'shutdown' } | { kind: 'internal-error'; message: string };
  let stopped: (reason: Reason) => void = () => undefined;
  const parts = {
    accel: {
      onStopped: (fn: typeof stopped) => (stopped = fn),
      start: () => void calls.push('start'),
      stop: () => cpu.stop(),
      guestStopped: () => void calls.push('held'),
    },
    board: {
      devices: {
        resume: () => undefined,
        pause: async () => undefined,
        notStopped: [],
        parse: () => ({ apply: () => undefined }),
      },
      pm: { pressPowerButton: () => undefined },
    },
    announce: () => undefined,
    clock: {
      nowMs: () => time.now,
      timer: (ms: number, fn: () => void) => (
        ms === 0 ? time.turn(fn) : (time.late = fn),
        { dispose: () => undefined }
      ),
    },
    events: new Events(),
    initial,
    bootable,
    noReboot: false,
    powerCycle: () => told.push(vm.running ? 'power cycle while the guest runs' : 'power cycle'),
    shutdown: (reason: string) => told.push(`shut down: ${reason}`),
    report: (line: string) => told.push(line),
  } as unknown as LifecyclePorts;
  const vm: VmLifecycle = new VmLifecycle(parts);
  /** What the accel was told since the last look. */
  const since = () => calls.splice(0).join(' ');
  return {
    vm,
    told,
    time,
    cpu,
    since,
    tripleFault: () => stopped({ kind: 'shutdown' }),
    die: () => stopped({ kind: 'internal-error', message: 'planted' }),
  };
}

test('with a kernel: a triple fault boots it again', async () => {
  const { vm, told, tripleFault } = lifecycle(true);
  await vm.cont();
  tripleFault();
  await vm.stop();
  expect(told).toEqual(['power cycle']);
});

test('a reset while a stop takes too long for its checkpoint: the guest stands still', async () => {
  const { vm, told, time, cpu } = lifecycle(true);
  await vm.cont();
  let stopped = () => undefined as void;
  cpu.stop = () => new Promise(resolve => (stopped = resolve));
  const checkpoint = vm.stopForCheckpoint();
  await new Promise(resolve => setImmediate(resolve));
  time.late();
  await expect(checkpoint).rejects.toThrow('did not stop within');
  vm.resumeAfterCheckpoint();
  const reset = vm.reset(false, 'host-qmp-system-reset');
  cpu.stop = async () => undefined;
  stopped();
  await reset;
  expect(told).toEqual(['power cycle']);
  expect(vm.running).toBe(true);
});

test.each([
  ['prelaunch', 'prelaunch', false],
  ['prelaunch', 'running', true],
  ['paused', 'paused', false],
] as const)(
  'a guest that is given away in a checkpoint: started as %s, then %s; it runs there: %s',
  async (initial, state, run) => {
    const { vm } = lifecycle(true, initial);
    if (state === 'running') await vm.cont();
    expect(vm.state).toBe(state);
    await vm.stopForCheckpoint();
    expect(vm.giveAway()).toEqual({ run });
  },
);

test.each(['a checkpoint', 'a migration'])(
  'the guest resets itself, and %s comes first: what is saved has been reset, once',
  async hold => {
    const { vm, told, time, tripleFault } = lifecycle(true);
    await vm.cont();
    const later: (() => void)[] = [];
    time.turn = fn => void later.push(fn);
    tripleFault();
    if (hold === 'a migration') await vm.stopForMigration();
    else await vm.stopForCheckpoint();
    expect(told).toEqual(['power cycle']);
    for (const fn of later) fn();
    if (hold === 'a migration') vm.migrationFailed();
    else vm.resumeAfterCheckpoint();
    await vm.stop();
    expect(told).toEqual(['power cycle']);
  },
);

test('the guest resets itself while it is stopped for a checkpoint', async () => {
  const { vm, told, time, cpu, tripleFault } = lifecycle(true);
  await vm.cont();
  const later: (() => void)[] = [];
  time.turn = fn => void later.push(fn);
  cpu.stop = async () => tripleFault();
  await vm.stopForCheckpoint();
  expect(told).toEqual(['power cycle']);
});

test('without: the guest has ended, with a sentence', async () => {
  const { vm, told, tripleFault } = lifecycle(false);
  await vm.cont();
  tripleFault();
  expect(told).toEqual([
    'the guest was reset; this VM was started without -kernel and cannot boot again, so it ends',
    'shut down: guest-reset',
  ]);
});

test('without: the failure is reported, and the guest runs on', async () => {
  const { vm, told } = lifecycle(false);
  await vm.cont();
  await expect(vm.reset(false, 'host-qmp-system-reset')).rejects.toThrow(
    'this VM was started without -kernel: it cannot boot again',
  );
  expect([vm.state, told]).toEqual(['running', []]);
});

describe('the guest hears that it was held, before it runs', () => {
  const running = async () => {
    const it = lifecycle(true);
    await it.vm.cont();
    it.since();
    return it;
  };

  test.each([
    [0, 'start'],
    [999, 'start'],
    [1000, 'held start'],
    [60_000, 'held start'],
  ])('stop, %i ms, cont', async (ms, seen) => {
    const { vm, time, since } = await running();
    await vm.stop();
    time.now += ms;
    await vm.cont();
    expect(since()).toBe(seen);
  });

  test.each([
    [20, 'start'],
    [5000, 'held start'],
  ])('a checkpoint of %i ms', async (ms, seen) => {
    const { vm, time, since } = await running();
    await vm.stopForCheckpoint();
    time.now += ms;
    vm.resumeAfterCheckpoint();
    expect(since()).toBe(seen);
  });

  test('a migration that failed after a while', async () => {
    const { vm, time, since } = await running();
    await vm.stopForMigration();
    time.now += 3000;
    vm.migrationFailed();
    expect(since()).toBe('held start');
  });

  test('a guest that came from elsewhere: by migration, after a failover', () => {
    for (const run of ['runAfterMigration', 'goOnAfterFailover'] as const) {
      const { vm, since } = lifecycle(true);
      vm.parseDevices(new Uint8Array(0)).apply();
      if (run === 'runAfterMigration') vm[run](true);
      else vm[run]({ run: true });
      expect(since()).toBe('held start');
    }
  });

  test('a state that was loaded over a guest that stands still but for a moment', async () => {
    const { vm, since } = await running();
    await vm.stop();
    vm.parseDevices(new Uint8Array(0)).apply();
    await vm.cont();
    expect(since()).toBe('held start');
  });
});

describe('a guest whose vCPU stopped with an internal error is not copied', () => {
  const why = 'the guest cannot go on: its vCPU stopped with an internal error';

  test('before a checkpoint', async () => {
    const { vm, die } = lifecycle(true);
    await vm.cont();
    die();
    await expect(vm.stopForCheckpoint()).rejects.toThrow(why);
    expect(vm.state).toBe('internal-error');
  });

  test('while a checkpoint stops it', async () => {
    const { vm, die } = lifecycle(true);
    await vm.cont();
    const stop = vm.stopForCheckpoint();
    await Promise.resolve();
    die();
    await expect(stop).rejects.toThrow(why);
    vm.resumeAfterCheckpoint();
    expect([vm.state, vm.running]).toEqual(['internal-error', false]);
  });
});

describe('a process that is being ended', () => {
  const over = 'this VM is being ended';
  type Verb = (vm: VmLifecycle) => unknown;
  const verbs: [string, Verb][] = [
    ['cont', vm => vm.cont()],
    ['stop', vm => vm.stop()],
    ['system_reset', vm => vm.reset(false, 'host-qmp-system-reset')],
    ['system_powerdown', vm => vm.powerdown()],
    ['announce_self', vm => vm.checkAnnounceable()],
    ['migrate', vm => vm.checkMigratable()],
    ['the end of a migration', vm => vm.stopForMigration()],
    ['a checkpoint', vm => vm.stopForCheckpoint()],
    ['a state that came', vm => vm.parseDevices(new Uint8Array(0)).apply()],
    ['a takeover', vm => vm.goOnAfterFailover({ run: true })],
  ];

  test.each(verbs)('refuses %s, before and after all stands still', async (_name, verb) => {
    const { vm, since } = lifecycle(true);
    await vm.cont();
    since();
    vm.beginEnd();
    const refused = () => expect((async () => verb(vm))()).rejects.toThrow(over);
    await refused();
    await vm.enterShutdown();
    await refused();
    expect([vm.state, vm.running, since()]).toEqual(['shutdown', false, '']);
  });

  test('is not begun anew by a reset that was under way', async () => {
    const { vm, told } = lifecycle(true);
    await vm.cont();
    const reset = vm.reset(false, 'host-qmp-system-reset');
    vm.beginEnd();
    await Promise.all([reset, vm.enterShutdown()]);
    expect([vm.state, vm.running, told]).toEqual(['shutdown', false, []]);
  });

  test('hears nothing more of the guest', async () => {
    const { vm, told, tripleFault, die } = lifecycle(true);
    await vm.cont();
    vm.beginEnd();
    tripleFault();
    vm.requestShutdown();
    const stopping = vm.enterShutdown();
    die();
    await stopping;
    expect([vm.state, told]).toEqual(['shutdown', ['vCPU stopped: planted']]);
  });

  test('does not run a guest that was still asking whether it may', async () => {
    const { vm, since } = lifecycle(true);
    let admit = () => undefined as void;
    vm.startGate = () => new Promise(resolve => (admit = resolve));
    const started = vm.cont();
    vm.beginEnd();
    admit();
    await expect(started).rejects.toThrow(over);
    expect(since()).toBe('');
  });
});

describe('a stop that fails without a caller that waits is reported', () => {
  const broken = () => Promise.reject(new VmError('KVM_RUN: Bad file descriptor'));
  const settle = () => new Promise(resolve => setImmediate(resolve));

  test('after the vCPU failed', async () => {
    const { vm, told, cpu, die } = lifecycle(true);
    await vm.cont();
    cpu.stop = broken;
    die();
    await settle();
    expect(told).toEqual(['vCPU stopped: planted', 'KVM_RUN: Bad file descriptor']);
  });

  test('behind a checkpoint that has given it up', async () => {
    const { vm, told, time, cpu } = lifecycle(true);
    await vm.cont();
    let fail = () => undefined as void;
    cpu.stop = () => new Promise((_, reject) => (fail = () => reject(new VmError('no more'))));
    const checkpoint = vm.stopForCheckpoint();
    await settle();
    time.late();
    await expect(checkpoint).rejects.toThrow('did not stop within');
    vm.resumeAfterCheckpoint();
    fail();
    await settle();
    expect(told).toEqual(['no more']);
  });
});

describe.each([
  'prelaunch',
  'inmigrate',
  'running',
  'paused',
  'io-error',
  'colo',
  'finish-migrate',
  'shutdown',
  'internal-error',
  'postmigrate',
])('in run state %s', initial => {
  const deeds: [string, (vm: VmLifecycle, die: () => void) => unknown][] = [
    ['cont', vm => vm.cont()],
    ['stop', vm => vm.stop()],
    ['reset', vm => vm.reset(false, 'host-qmp-system-reset')],
    ['powerdown', vm => vm.powerdown()],
    ['announce', vm => vm.checkAnnounceable()],
    ['migrate', vm => vm.checkMigratable()],
    ['the peer takes over', vm => vm.haltForPeer()],
    ['a disk failed', vm => vm.ioError()],
    ['the guest asks for a reset', vm => vm.requestReset()],
    ['the guest asks for its shutdown', vm => vm.requestShutdown()],
    ['the vCPU fails', (_vm, die) => die()],
    ['the end', vm => vm.enterShutdown()],
  ];

  /** A refusal, or nothing; a mistake of ours is thrown. */
  const refusal = async (act: () => unknown) => {
    try {
      await act();
    } catch (error) {
      if (!(error instanceof VmError)) throw error;
    }
  };

  test.each(deeds)('%s is carried out or refused, and so is what comes next', async (_, deed) => {
    for (const [name, next] of deeds) {
      const { vm, die } = lifecycle(true, initial);
      await refusal(() => deed(vm, die));
      await refusal(() => next(vm, die));
      expect([name, vm.running && vm.state !== 'running']).toEqual([name, false]);
    }
  });
});
