/**
 * Goal: several vCPUs on the software CPU are one machine: they start by INIT and SIPI, stop at one
 * instant, and a checkpoint holds all of them. Method: bare-metal guests whose processors interrupt
 * each other, moved between VMs in mid-work, on a thread each and in turns on one.
 */
import { afterEach, expect, test } from '@jest/globals';
import type { StopReason } from '../../src/accel/contract.js';
import { defaultCpu, resolveCpu } from '../../src/accel/cpu-model.js';
import { AddonRam } from '../../src/accel/ram.js';
import { VcpuImage } from '../../src/accel/vcpu-image.js';
import { SteppedVm } from '../../src/accel/vm.js';
import { closeAll, emptyVm, move, RAM_BYTES, sleep } from '../kvm/bench.js';
import { loadSmpGuest, READY_PORT_VALUE, REPORT, Smp } from '../kvm/smp-guest.js';
import { Recorder } from '../support/recorder.js';

afterEach(closeAll);

const ready = `out 80/1 ${READY_PORT_VALUE.toString(16)}`;
const topologyOf = (cores: number) => ({ sockets: 1, cores, threads: 1 });

async function started(cpus: number, lockstep = false) {
  const rig = emptyVm('soft', { topology: topologyOf(cpus), lockstep });
  loadSmpGuest(rig.vm);
  const seen = rig.bus.wait(ready);
  rig.vm.start();
  await seen;
  return rig;
}

/** In mid-work, from one VM to the next. */
async function hops(ways: readonly boolean[]) {
  let rig = await started(2, ways[0]);
  for (const [hop, lockstep] of ways.slice(1).entries()) {
    await sleep(20 + 7 * hop); // in the middle of a round
    await rig.vm.stop();
    const [rounds, ticks, expected] = [Smp.ROUNDS, Smp.TICKS, Smp.EXPECTED].map(at =>
      rig.vm.ram.readU32(at)!,
    );
    expect([rounds, rounds + 1]).toContain(expected);
    expect([rounds, expected]).toContain(ticks);
    const next = emptyVm('soft', { topology: topologyOf(2), lockstep });
    move(rig.vm, next.vm);
    expect(next.vm.ram.hash()).toBe(rig.vm.ram.hash());
    const report = (Math.floor(rounds / REPORT) + 2) * REPORT;
    const seen = next.bus.wait(`out 80/4 ${report.toString(16)}`);
    next.vm.start();
    await seen;
    rig = next;
  }
  await rig.vm.stop();
}

test('two vCPUs interrupt each other across checkpoints, and none is lost or repeated', () =>
  hops([false, false, false, false]));

test('in lockstep, from and to VMs that are not', () => hops([true, true, false, true]));

test('in lockstep one thread runs all vCPUs, at guest time that it counts', async () => {
  const { vm } = await started(2, true);
  const [first, second] = vm.threadIds();
  expect(first).toBeGreaterThan(0);
  expect(second).toBe(first);
  await vm.stop();
  const at = vm.guestNs();
  await sleep(20);
  expect(vm.guestNs()).toBe(at);
});

test('what both do in steps is the same in every run', () => {
  const run = () => {
    const vm = new SteppedVm(
      new AddonRam(RAM_BYTES),
      resolveCpu(defaultCpu, 'soft', topologyOf(2)),
    );
    const bus = new Recorder();
    vm.setExitHandler(bus);
    loadSmpGuest(vm);
    vm.start();
    for (let n = 0; n < 300; n++) {
      vm.runFor(5000 + n);
      vm.advance(1000);
    }
    const counts = [vm.icount(0), vm.icount(1)];
    const seen = [...bus.seen];
    const hash = vm.ram.hash();
    vm.dispose();
    return { counts, seen, hash };
  };
  const once = run();
  expect(once.seen).toContain(ready);
  expect(once.counts[1]).toBeGreaterThan(10_000n);
  expect(run()).toEqual(once);
});

test('one that triple-faults stops all of them', async () => {
  const { vm } = await started(2);
  await vm.stop();
  const image = new VcpuImage(vm.cpus[1].save());
  image.setTable('idt', 0n, 0); // its next interrupt finds no handler, and none for that
  vm.cpus[1].load(image.data);
  const reason = new Promise<StopReason>(resolve => vm.onStopped(resolve));
  vm.start();
  expect(await reason).toEqual({ kind: 'shutdown' });
  const before = vm.ram.hash();
  await sleep(50);
  expect(vm.ram.hash()).toBe(before);
});
