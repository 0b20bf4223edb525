/**
 * Goal: a guest that is not this process's takes no user's verb, and one whose peer took over never
 * runs here again. Method: the lifecycle over parts that note what they are told, and a vCPU that
 * stops when the test says so.
 */
import { Events } from '../../../src/base/events.js';
import type { LifecyclePorts } from '../../../src/machine/lifecycle-ports.js';
import { VmLifecycle } from '../../../src/machine/lifecycle.js';
import type { RunState } from '../../../src/qapi/types.js';
import { ManualClock } from '../../support/block-host.js';

function setup(initial: RunState, stop: () => Promise<void> = async () => undefined) {
  const told: string[] = [];
  const clock = new ManualClock();
  let stopped: (reason: { kind: 'internal-error'; message: string }) => void = () => undefined;
  const parts = {
    accel: {
      onStopped: (fn: typeof stopped) => (stopped = fn),
      guestStopped: () => undefined,
      start: () => told.push('start'),
      stop: () => stop().then(() => told.push('stop')),
    },
    board: {
      devices: { resume: () => undefined, pause: async () => undefined, notStopped: [] },
      pm: { pressPowerButton: () => told.push('button') },
    },
    clock,
    events: new Events(),
    initial,
    bootable: true,
    noReboot: false,
    powerCycle: () => told.push('power cycle'),
    shutdown: () => told.push('shut down'),
    announce: () => undefined,
    report: () => undefined,
  } as unknown as LifecyclePorts;
  const vm = new VmLifecycle(parts);
  return {
    vm,
    told,
    clock,
    fail: () => stopped({ kind: 'internal-error', message: 'no such instruction' }),
  };
}

test('a secondary refuses every verb, and keeps none of them for its failover', async () => {
  const { vm, told } = setup('inmigrate');
  expect(() => vm.powerdown()).toThrow('there is no guest here');
  await expect(vm.reset(false, 'host-qmp-system-reset')).rejects.toThrow('there is no guest here');
  await expect(vm.stop()).rejects.toThrow('there is no guest here');
  expect(() => vm.checkAnnounceable()).toThrow('whose monitor announces it');
  await expect(vm.cont()).rejects.toThrow('the machine waits for a migration');
  vm.goOnAfterFailover({ run: true });
  expect([vm.state, told]).toEqual(['running', ['start']]);
  vm.checkAnnounceable();
  vm.powerdown();
  expect(told).toEqual(['start', 'button']);
});

test('a guest that has not run here yet is not announced: it may run elsewhere', async () => {
  const { vm } = setup('prelaunch');
  expect(() => vm.checkAnnounceable()).toThrow('the guest has not run here yet');
  await vm.cont();
  vm.checkAnnounceable();
});

test('a primary that yields stands still, and for good', async () => {
  const { vm, told } = setup('prelaunch');
  await vm.cont();
  await vm.haltForPeer();
  expect([vm.state, vm.running, told]).toEqual(['postmigrate', false, ['start', 'stop']]);
  await expect(vm.cont()).rejects.toThrow('the guest went on elsewhere');
  await expect(vm.reset(false, 'host-qmp-system-reset')).rejects.toThrow('there is no guest here');
  expect(() => vm.powerdown()).toThrow('there is no guest here');
  expect([vm.running, told]).toEqual([false, ['start', 'stop']]);
});

test('it is not waited for without end, and stays away from the user all the same', async () => {
  const { vm, clock } = setup('prelaunch', () => new Promise(() => undefined));
  await vm.cont();
  const halted = expect(vm.haltForPeer()).rejects.toThrow('did not stop within 10 s');
  await clock.advance(10_001);
  await halted;
  await expect(vm.cont()).rejects.toThrow('the guest went on elsewhere');
});

test('a vCPU that failed says why until a reset', async () => {
  const { vm, fail } = setup('prelaunch');
  await vm.cont();
  expect(vm.failure).toBeUndefined();
  fail();
  expect([vm.state, vm.failure]).toEqual([
    'internal-error',
    'the vCPU failed: no such instruction',
  ]);
  await vm.reset(false, 'host-qmp-system-reset');
  expect(vm.failure).toBeUndefined();
});
