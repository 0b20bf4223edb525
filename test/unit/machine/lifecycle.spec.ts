/** Goal: a machine without a kernel of its own is not reset into nothing. Method: the lifecycle over parts that do nothing. */
import { VmLifecycle, type LifecycleParts } from '../../../src/machine/lifecycle.js';
import { Events } from '../../../src/base/events.js';

function lifecycle(bootable: boolean) {
  const told: string[] = [];
  let stopped: (reason: { kind: 'shutdown' }) => void = () => undefined;
  const parts = {
    accel: { onStopped: (fn: typeof stopped) => (stopped = fn), start: () => undefined, stop: async () => undefined },
    board: { devices: { resume: () => undefined, pause: async () => undefined } },
    clock: { timer: (_ms: number, fn: () => void) => (fn(), { dispose: () => undefined }) },
    events: new Events(),
    initial: bootable ? 'prelaunch' : 'paused',
    bootable,
    noReboot: false,
    powerCycle: () => told.push('power cycle'),
    shutDown: (reason: string) => told.push(`shut down: ${reason}`),
    report: (line: string) => told.push(line),
  } as unknown as LifecycleParts;
  const vm = new VmLifecycle(parts);
  return { vm, told, tripleFault: () => stopped({ kind: 'shutdown' }) };
}

test('with a kernel: a triple fault boots it again', async () => {
  const { vm, told, tripleFault } = lifecycle(true);
  await vm.cont();
  tripleFault();
  await vm.stop();
  expect(told).toEqual(['power cycle']);
});

test('without: the guest has ended, with a sentence', async () => {
  const { vm, told, tripleFault } = lifecycle(false);
  await vm.cont();
  tripleFault();
  expect(told).toEqual(['the guest was reset; this VM was started without -kernel and cannot boot again, so it ends', 'shut down: guest-reset']);
});

test('without: a user is told, and the guest goes on', async () => {
  const { vm, told } = lifecycle(false);
  await vm.cont();
  await expect(vm.reset(false, 'host-qmp-system-reset')).rejects.toThrow('this VM was started without -kernel: it cannot boot again');
  expect([vm.state, told]).toEqual(['running', []]);
});
