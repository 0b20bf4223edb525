/**
 * Goal: several vCPUs on KVM are one machine: they start as processors do, stop at one instant, and
 * a checkpoint holds all of them. Method: bare-metal guests whose processors interrupt each other,
 * moved between VMs in mid-work.
 */
import { afterEach, expect } from '@jest/globals';
import type { StopReason } from '../../src/accel/contract.js';
import { VcpuImage } from '../../src/accel/vcpu-image.js';
import { Assembler, loadToyGuest } from '../support/toy-guest.js';
import { closeAll, emptyVm, kvmTest, move, type Rig, sleep } from './bench.js';
import { comparable } from './comparable.js';
import { loadSmpGuest, READY_PORT_VALUE, REPORT, Smp } from './smp-guest.js';

afterEach(closeAll);

const UNINITIALIZED = 1;
const readyLine = `out 80/1 ${READY_PORT_VALUE.toString(16)}`;
const mpState = (image: Buffer) => image.readUInt32LE(5144);

function smpVm(cpus: number, options: { spinFirst?: boolean } = {}): Rig {
  const rig = emptyVm('kvm', { topology: { sockets: 1, cores: cpus, threads: 1 } });
  loadSmpGuest(rig.vm, options);
  return rig;
}

async function runUntil({ vm, bus }: Rig, what: string): Promise<void> {
  const seen = bus.wait(what);
  vm.start();
  await seen;
}

/** Whatever the guest was at: all interrupts that were sent have been taken, or are about to be. */
function expectConsistent({ vm }: Rig, others: number): void {
  const [rounds, ticks, expected] = [Smp.ROUNDS, Smp.TICKS, Smp.EXPECTED].map(at =>
    vm.ram.readU32(at)!,
  );
  expect(expected).toBeGreaterThanOrEqual(others * rounds);
  expect(expected).toBeLessThanOrEqual(others * (rounds + 1));
  expect(ticks).toBeLessThanOrEqual(expected);
  expect(ticks).toBeGreaterThanOrEqual(others * rounds);
}

for (const cpus of [2, 4]) {
  kvmTest(
    `${cpus} vCPUs interrupt each other across checkpoints, and none is lost or repeated`,
    async () => {
      let rig = smpVm(cpus);
      await runUntil(rig, readyLine);
      for (let hop = 0; hop < 3; hop++) {
        await sleep(20 + 7 * hop); // in the middle of a round
        await rig.vm.stop();
        expectConsistent(rig, cpus - 1);
        const rounds = rig.vm.ram.readU32(Smp.ROUNDS)!;
        const next = emptyVm('kvm', { topology: rig.vm.cpuModel });
        move(rig.vm, next.vm);
        await runUntil(
          next,
          `out 80/4 ${((Math.floor(rounds / REPORT) + 2) * REPORT).toString(16)}`,
        );
        rig = next;
      }
      await rig.vm.stop();
      expectConsistent(rig, cpus - 1);
    },
  );
}

kvmTest('a state of two vCPUs comes back as it was, registers and memory', async () => {
  const from = smpVm(2);
  await runUntil(from, `out 80/4 ${(4 * REPORT).toString(16)}`);
  await from.vm.stop();
  const to = emptyVm('kvm', { topology: from.vm.cpuModel });
  move(from.vm, to.vm);
  expect(to.vm.ram.hash()).toBe(from.vm.ram.hash());
  for (const [i, cpu] of from.vm.cpus.entries())
    expect(comparable(to.vm.cpus[i].save())).toEqual(comparable(cpu.save()));
  expect(to.vm.registers(1)).toBe(from.vm.registers(1));
  expect(from.vm.registers(1)).not.toBe(from.vm.registers(0));
});

kvmTest(
  'processors that nobody has started yet wait for their start after a move, too',
  async () => {
    const from = smpVm(3, { spinFirst: true });
    const stopping = new Promise<void>(
      resolve => (from.bus.onAccess = () => resolve(from.vm.stop())),
    );
    from.vm.start();
    await stopping;
    expect(from.vm.cpus.map(cpu => mpState(cpu.save()))).toEqual([0, UNINITIALIZED, UNINITIALIZED]);
    const to = emptyVm('kvm', { topology: from.vm.cpuModel });
    move(from.vm, to.vm);
    await runUntil(to, `out 80/4 ${REPORT.toString(16)}`);
    await to.vm.stop();
    to.vm.reset();
    expect(to.vm.cpus.map(cpu => mpState(cpu.save()))).toEqual([0, UNINITIALIZED, UNINITIALIZED]);
  },
);

kvmTest('eight vCPUs of an uneven topology know who they are', async () => {
  const topology = { sockets: 1, cores: 3, threads: 2 };
  const rig = emptyVm('kvm', { topology });
  loadSmpGuest(rig.vm);
  expect(rig.vm.apicIds).toEqual([0, 1, 2, 3, 4, 5]);
  expect(emptyVm('kvm', { topology: { sockets: 2, cores: 3, threads: 1 } }).vm.apicIds).toEqual([
    0, 1, 2, 4, 5, 6,
  ]);
  expect(emptyVm('kvm', { topology: { sockets: 1, cores: 8, threads: 1 } }).vm.cpuCount).toBe(8);
  await runUntil(rig, readyLine);
  await rig.vm.stop();
  const seen = [0, 1, 2, 3, 4].map(n =>
    [0, 4, 8].map(at => rig.vm.ram.readU32(Smp.CPUID + 16 * n + at)!),
  );
  seen.sort(([a], [b]) => a - b);
  // leaf 1, leaf 0xb: the APIC id; processors of the package
  expect(seen).toEqual([1, 2, 3, 4, 5].map(id => [id, id, 6]));
  expect(new Set(rig.vm.threadIds()).size).toBe(6);
});

kvmTest(
  'an exit of one vCPU that triple-faults stops all of them, and a stop waits for all',
  async () => {
    const rig = emptyVm('kvm', { topology: { sockets: 1, cores: 2, threads: 1 } });
    loadSmpGuest(rig.vm);
    await runUntil(rig, readyLine);
    await rig.vm.stop();
    const image = new VcpuImage(rig.vm.cpus[1].save());
    image.setTable('idt', 0n, 0); // its next interrupt finds no handler, and none for that
    rig.vm.cpus[1].load(image.data);
    const reason = new Promise<StopReason>(resolve => rig.vm.onStopped(resolve));
    rig.vm.start();
    expect(await reason).toEqual({ kind: 'shutdown' });
    expect(rig.vm.running).toBe(false);
    const before = rig.vm.ram.hash();
    await sleep(50);
    expect(rig.vm.ram.hash()).toBe(before);
  },
);

kvmTest("a vCPU does not take another's state, nor a VM of one a state of two", () => {
  const { vm } = emptyVm('kvm', { topology: { sockets: 1, cores: 2, threads: 1 } });
  expect(vm.cpus[0].check(vm.cpus[1].save())).toBe("lapic: ID is 1, this vCPU's is 0");
  const { vm: soft } = emptyVm('soft');
  const waiting = vm.cpus[0].save();
  waiting.writeUInt32LE(UNINITIALIZED, 5144);
  expect(soft.cpus[0].check(waiting)).toBe('vCPU run state 1 is not supported');
});

kvmTest(
  'a guest that floods exits from every vCPU leaves the host its turn, and stops when told',
  async () => {
    const { vm, bus } = emptyVm('kvm', { topology: { sockets: 1, cores: 2, threads: 1 } });
    const a = new Assembler().movEdx(0x80);
    loadToyGuest(vm, a.outDxAl().jumpTo(a.here - 1));
    const entry = new VcpuImage(vm.cpus[0].save());
    const second = new VcpuImage(vm.cpus[1].save());
    for (const name of ['rip', 'rsp', 'rflags'] as const) second.setReg(name, entry.reg(name));
    for (const name of ['cr0', 'cr3', 'cr4', 'efer'] as const)
      second.setControl(name, entry.control(name));
    for (const name of ['cs', 'ds', 'es', 'fs', 'gs', 'ss'] as const)
      second.setSegment(name, entry.segment(name));
    second.data.writeUInt32LE(0, 5144);
    vm.cpus[1].load(second.data);
    vm.start();
    for (let turn = 0; turn < 5; turn++) await sleep(5);
    await vm.stop();
    expect(bus.seen.length).toBeGreaterThan(20);
    const after = bus.seen.length;
    await sleep(20);
    expect(bus.seen.length).toBe(after);
  },
);
