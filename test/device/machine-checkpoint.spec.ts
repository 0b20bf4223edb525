/**
 * The composed machine at checkpoints: what is saved, told and taken back. CPUs are fakes.
 */
import { beforeEach, describe, expect, test } from '@jest/globals';
import { onTrace } from '../../src/base/trace.js';
import { settle } from '../support/device-bench.js';
import {
  newHost,
  vm,
  clock,
  disk,
  net,
  events,
  machine,
  build,
  newBench,
} from '../support/machine-bench.js';

beforeEach(newBench);

describe('checkpoints', () => {
  beforeEach(async () => {
    await build();
    machine.start();
    await settle();
    events.length = 0;
  });

  test('stop, save, resume; STOP and RESUME are sent, or not', async () => {
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

  test('STOP and RESUME stay in pairs: a stop during a silent checkpoint is sent after it', async () => {
    const { lifecycle } = machine;
    lifecycle.checkpointEvents = false;
    await lifecycle.stopForCheckpoint();
    await machine.stop();
    lifecycle.resumeAfterCheckpoint();
    expect([machine.runState, events]).toEqual(['paused', ['STOP']]);
  });

  test('whileStopped stops the guest and resumes it; it counts as running, and no event is sent', async () => {
    const states: string[] = [];
    machine.onRunState(state => void states.push(state));
    const seen = await machine.whileStopped(() => [vm.running, machine.runState]);
    expect([seen, vm.running, states, events]).toEqual([[false, 'running'], true, [], []]);
    await machine.stop();
    expect([await machine.whileStopped(() => vm.running), vm.running]).toEqual([false, false]);
  });

  test('whileStopped, stop, cont, reset and checkpoints at the same time: the last verb counts', async () => {
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
  });

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
    newHost();
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
    secondary.lifecycle.goOnAfterFailover({ run: true });
    expect([secondary.runState, vm.running, net.running, events]).toEqual([
      'running',
      true,
      true,
      ['STOP', 'RESUME', 'announce'],
    ]);
  });

  test('a guest that came by migration is announced when it runs, once, and not before', async () => {
    for (const startPaused of [true, false]) {
      for (const ran of [true, false]) {
        newHost();
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
  });

  test('run state changes are traced and sent as events', async () => {
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
