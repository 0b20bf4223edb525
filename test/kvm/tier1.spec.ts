/**
 * Goal: the KVM backend keeps the contract of a CPU backend. Method: bare-metal guests of a few
 * thousand instructions on /dev/kvm, whatever it is worth; the test is their device. What this
 * host's KVM cannot do is skipped, with its reason in the title.
 */
import { Session } from 'node:inspector';
import { afterEach, expect, test } from '@jest/globals';
import { chooseAccel, detectKvm } from '../../src/accel/choose.js';
import type { StopReason } from '../../src/accel/contract.js';
import { VcpuImage } from '../../src/accel/vcpu-image.js';
import {
  Assembler,
  CODE,
  IDT,
  LAPIC,
  nmiHandler,
  RESULT,
  startTimer,
} from '../support/toy-guest.js';
import { build, closeAll, emptyVm, kvm, kvmTest, move, sleep } from './bench.js';
import { comparable } from './comparable.js';

afterEach(closeAll);

const TICKS = RESULT + 0x100; // counted by the toy guest's interrupt handler

/**
 * Counts, writes and reads a port, rings a doorbell, sleeps until its APIC timer has fired, says
 * so.
 */
function tour(): Assembler {
  const a = new Assembler();
  a.movEcx(1000).countDownEcx();
  a.movEdx(0x3f8).movEax(0x41).outDxAl().movEax(0).inAlDx().storeEax(RESULT);
  a.movEbx(0xfe003000).storeWordAtRbx(7).storeWordAtRbx(8);
  startTimer(a, 100_000).sti().hlt();
  a.loadEax(TICKS).movEdx(0x80).outDxEax();
  return a.hlt();
}

/** Counts at RESULT and shows the count at a port every 256 rounds. */
function counter(): Assembler {
  const a = new Assembler().movEdx(0x80);
  const top = a.here;
  a.movEcx(256);
  const inner = a.here;
  a.incDword(RESULT).raw(0xff, 0xc9, 0x75, inner - (a.here + 4));
  return a.loadEax(RESULT).outDxEax().jumpTo(top);
}

test('what this KVM is worth (printed)', () => {
  console.log(`/dev/kvm: ${kvm.kind}: ${kvm.reason}`);
  expect(['none', 'interpreted', 'full']).toContain(kvm.kind);
});

kvmTest(
  'signals without end, as a profiler sends them, keep neither the detection nor a VM from ' +
    'coming to be',
  () => {
    const session = new Session();
    session.connect();
    const post = (method: string, more = {}) => session.post(method, more);
    post('Profiler.enable');
    post('Profiler.setSamplingInterval', { interval: 200 });
    post('Profiler.start');
    try {
      for (let i = 0; i < 3; i++) expect(detectKvm()).toMatchObject({ kind: kvm.kind });
      for (let i = 0; i < 5; i++) emptyVm();
    } finally {
      post('Profiler.stop');
      session.disconnect();
    }
  },
);

test('the choice follows the class, and says why', () => {
  const choose = (wish: 'auto' | 'soft' | 'kvm', kind: 'none' | 'interpreted' | 'full') =>
    chooseAccel(wish, () => ({ kind, reason: 'because' }));
  expect(choose('auto', 'full')).toEqual({ name: 'kvm', why: 'because' });
  expect(choose('auto', 'interpreted')).toEqual({
    name: 'soft',
    why: '/dev/kvm is no use: because',
  });
  expect(choose('auto', 'none')).toEqual({ name: 'soft', why: 'because' });
  expect(choose('soft', 'full').name).toBe('soft');
  expect(() => choose('kvm', 'interpreted')).toThrow('-accel kvm: /dev/kvm is no use: because');
  expect(() => choose('kvm', 'none')).toThrow('-accel kvm: because');
});

kvmTest('a guest counts, talks to a port, rings, sleeps until its timer', async () => {
  const { vm, bus } = build(tour());
  const rings: number[] = [];
  vm.addDoorbell({
    space: 'mmio',
    address: 0xfe003000,
    size: 2,
    datamatch: 7,
    ring: () => rings.push(bus.seen.length),
  });
  const done = bus.wait('out 80/4 1');
  vm.start();
  await done;
  await vm.stop();
  expect(bus.seen).toEqual(['out 3f8/1 41', 'in 3f8/1', 'store fe003000/2 8', 'out 80/4 1']);
  expect(rings).toEqual([2]); // before the exit that came after it
  expect(vm.ram.readU8(RESULT)).toBe(0x5a);
});

kvmTest(
  'stop completes the exit that is being answered, and the guest goes on from there',
  async () => {
    const a = new Assembler().movEdx(0x60);
    const top = a.here;
    a.inEaxDx().incDword(RESULT).jumpTo(top);
    const { vm, bus } = build(a);
    for (let round = 0; round < 30; round++) {
      const before = bus.seen.length;
      const stopping = new Promise<void>(resolve => {
        bus.onAccess = () => {
          // asked for in the middle of an exit
          if (bus.seen.length === before + 5) resolve(vm.stop());
        };
      });
      vm.start();
      await stopping;
      expect(vm.running).toBe(false);
      const image = new VcpuImage(vm.cpus[0].save());
      // the IN is behind it, and its answer is in RAX
      expect(image.reg('rip')).not.toBe(BigInt(top));
      expect(image.reg('rax')).toBe(0x5an);
      const counted = vm.ram.readU32(RESULT)!;
      expect([0, 1]).toContain(bus.seen.length - counted);
    }
  },
);

kvmTest('a state comes back as it was, on the same VM and on another', async () => {
  const a = startTimer(new Assembler(), 1_500_000_000).sti().movEdx(0x80).outDxAl();
  const top = a.here;
  const first = build(a.incDword(RESULT).jumpTo(top));
  const armed = first.bus.wait('out 80/1 0');
  first.vm.start();
  await armed;
  await first.vm.stop();
  expect(first.vm.ram.readU32(TICKS)).toBe(0);
  const second = emptyVm();
  move(first.vm, second.vm);
  expect(second.vm.ram.hash()).toBe(first.vm.ram.hash());
  expect(comparable(second.vm.cpus[0].save())).toEqual(comparable(first.vm.cpus[0].save()));
  const counted = first.vm.ram.readU32(RESULT)!;
  second.vm.start();
  for (let i = 0; i < 200 && second.vm.ram.readU32(TICKS) === 0; i++) await sleep(50);
  await sleep(50);
  await second.vm.stop();
  expect(second.vm.ram.readU32(RESULT)).toBeGreaterThan(counted);
  // the timer that was running when the state was taken
  expect(second.vm.ram.readU32(TICKS)).toBe(1);
  expect(second.vm.guestNs()).toBeGreaterThan(first.vm.guestNs() - 1_000_000_000n);
});

kvmTest('two VMs from one checkpoint do the same', async () => {
  const origin = build(counter());
  origin.vm.start();
  await origin.bus.wait('out 80/4 400');
  await origin.vm.stop();
  const outcome = async () => {
    const { vm, bus } = emptyVm();
    move(origin.vm, vm);
    const stopping = new Promise<void>(
      resolve => (bus.onAccess = what => what === 'out 80/4 c00' && resolve(vm.stop())),
    );
    vm.start();
    await stopping;
    return { ram: vm.ram.hash(), ...comparable(vm.cpus[0].save()) };
  };
  expect(await outcome()).toEqual(await outcome());
});

for (const [from, to] of [
  ['soft', 'kvm'],
  ['kvm', 'soft'],
] as const) {
  kvmTest(`a guest goes on where it stood: ${from} to ${to}`, async () => {
    const origin = build(counter(), from);
    origin.vm.start();
    await origin.bus.wait('out 80/4 400');
    await origin.vm.stop();
    const before = comparable(origin.vm.cpus[0].save());
    const { vm, bus } = emptyVm(to);
    move(origin.vm, vm);
    expect(vm.ram.hash()).toBe(origin.vm.ram.hash());
    expect(comparable(vm.cpus[0].save()).fixed).toBe(before.fixed);
    const shown = Number(`0x${origin.bus.seen[origin.bus.seen.length - 1].split(' ')[2]}`);
    const next = (shown + 256).toString(16);
    const done = bus.wait(`out 80/4 ${next}`);
    vm.start();
    await done;
    await vm.stop();
    expect(bus.seen[0]).toBe(`out 80/4 ${next}`); // none is lost, none is repeated
  });
}

for (const [log, dirtyRing, needs] of [
  ['bitmap', false, 'interpreted'],
  ['ring', true, 'full'],
] as const)
  kvmTest(
    `what the guest writes is in the dirty log, once: ${log}`,
    async () => {
      const a = new Assembler().movEdx(0x80);
      const top = a.here;
      a.movEax(1);
      for (const page of [300, 301, 500]) a.storeEax(page * 4096 + 8);
      a.outDxAl().raw(0xec).jumpTo(top); // in al, dx: the answer lets it go on
      const { vm, bus } = build(a, 'kvm', { dirtyRing });
      vm.ram.dirtyLog.start();
      for (let round = 0; round < 3; round++) {
        const stopping = new Promise<void>(
          resolve => (bus.onAccess = what => what === 'out 80/1 1' && resolve(vm.stop())),
        );
        vm.start();
        await stopping;
        expect(vm.ram.dirtyLog.count()).toBeGreaterThanOrEqual(3);
        expect([...vm.ram.dirtyLog.take()]).toEqual(expect.arrayContaining([300, 301, 500]));
        expect(vm.ram.dirtyLog.count()).toBe(0);
      }
      vm.ram.writeU8(700 * 4096, 1); // the device side's own
      expect([...vm.ram.dirtyLog.take()]).toEqual([700]);
      vm.ram.dirtyLog.stop();
      vm.ram.dirtyLog.start();
      expect(vm.ram.dirtyLog.count()).toBe(0);
    },
    needs,
  );

kvmTest(
  'a ring of dirty pages that is full holds the guest up and loses nothing',
  async () => {
    const first = 512; // pages from 2 MiB on: more than a ring has entries
    const pages = 7000;
    const a = new Assembler().movEbx(first * 4096).movEcx(pages);
    const top = a.here;
    // mov [rbx], ecx; add ebx, 4096; dec ecx; jnz
    a.raw(0x89, 0x0b, 0x81, 0xc3, 0, 0x10, 0, 0, 0xff, 0xc9, 0x75, top - (a.here + 12));
    a.movEdx(0x80).movEax(1).outDxAl().jumpTo(CODE);
    const { vm, bus } = build(a, 'kvm', { dirtyRing: true, ramBytes: 32 << 20 });
    vm.ram.dirtyLog.start();
    for (let round = 0; round < 3; round++) {
      const stopping = new Promise<void>(resolve => (bus.onAccess = () => resolve(vm.stop())));
      vm.start();
      await stopping;
      const dirty = new Set(vm.ram.dirtyLog.take());
      expect([...Array(pages).keys()].filter(i => !dirty.has(first + i))).toEqual([]);
    }
  },
  'full',
);

kvmTest(
  'doorbells: by value, of any value, of any length, on ports; not any more when they are gone',
  async () => {
    const a = new Assembler()
      .movEbx(0xfe003000)
      .storeWordAtRbx(1)
      .storeWordAtRbx(2)
      .storeWordAtRbx(3)
      .storeAtRbx(4, 4)
      .storeAtRbx(8, 8);
    a.movEdx(0x90).movEax(9).outDxAl().outDxEax().movEdx(0x80).outDxAl().inAlDx().jumpTo(CODE);
    const { vm, bus } = build(a);
    const rung: string[] = [];
    const bell = (
      name: string,
      space: 'mmio' | 'pio',
      address: number,
      size: number,
      datamatch?: number,
    ) => vm.addDoorbell({ space, address, size, datamatch, ring: () => rung.push(name) });
    const bells = [
      bell('one', 'mmio', 0xfe003000, 2, 1),
      bell('two', 'mmio', 0xfe003000, 2, 2),
      bell('word', 'mmio', 0xfe003004, 4),
      bell('any', 'mmio', 0xfe003008, 0),
      bell('again', 'mmio', 0xfe003008, 0), // the kernel takes no second one of these
      bell('port', 'pio', 0x90, 1, 9),
    ];
    const round = async () => {
      bus.seen.length = rung.length = 0;
      const stopping = new Promise<void>(
        resolve => (bus.onAccess = what => what === 'in 80/1' && resolve(vm.stop())),
      );
      vm.start();
      await stopping;
      return [...new Set(rung)].sort();
    };
    expect(await round()).toEqual(['any', 'one', 'port', 'two', 'word']);
    expect(bus.seen).toEqual(['store fe003000/2 3', 'out 90/4 9', 'out 80/1 9', 'in 80/1']);
    for (const b of bells.slice(1)) b.dispose();
    expect(await round()).toEqual(['one']);
    expect(bus.seen).toEqual([
      'store fe003000/2 2',
      'store fe003000/2 3',
      'store fe003004/4 4',
      'store fe003008/4 8',
      'out 90/1 9',
      'out 90/4 9',
      'out 80/1 9',
      'in 80/1',
    ]);
  },
);

kvmTest('interrupts from the device side wake a halted guest', async () => {
  const a = startTimer(new Assembler(), 0);
  const top = a.here;
  // nothing is taken between the report and the HLT
  a.cli().loadEax(TICKS).movEdx(0x80).outDxEax().sti().hlt().jumpTo(top);
  const { vm, bus } = build(a);
  let report = bus.wait('out 80/4 0');
  vm.start();
  for (let i = 1; i <= 60; i++) {
    await report;
    if (i % 3 === 0) await sleep(1); // asleep by then; otherwise on its way to sleep
    report = bus.wait(`out 80/4 ${i.toString(16)}`);
    vm.signalMsi(0xfee00000n, 0x40);
  }
  await report;
});

kvmTest('an interrupt line reaches the guest through the IOAPIC', async () => {
  const a = startTimer(new Assembler(), 0);
  a.movEax(0xff).movEdx(0x21).outDxAl().movEdx(0xa1).outDxAl(); // the i8259s keep out of it
  a.movEbx(0xfec00000);
  const redirect = (register: number, value: number) =>
    a.storeAtRbx(0, register).storeAtRbx(0x10, value);
  redirect(0x10 + 2 * 5 + 1, 0);
  redirect(0x10 + 2 * 5, 0x40); // pin 5, edge, vector 0x40
  a.movEdx(0x80).movEax(0xee).outDxAl().sti().hlt().loadEax(TICKS).outDxEax().hlt();
  const { vm, bus } = build(a);
  const ready = bus.wait('out 80/1 ee');
  vm.start();
  await ready;
  const taken = bus.wait('out 80/4 1');
  vm.setIrq(5, true);
  vm.setIrq(5, false);
  await taken;
});

kvmTest('a triple fault stops the VM and says so; a reset makes it new', async () => {
  const { vm } = build(new Assembler().ud2());
  const fresh = comparable(emptyVm().vm.cpus[0].save());
  const reason = new Promise<StopReason>(resolve => vm.onStopped(resolve));
  vm.start();
  expect(await reason).toEqual({ kind: 'shutdown' });
  expect(vm.running).toBe(false);
  vm.reset();
  const again = comparable(vm.cpus[0].save());
  expect(again.msrs).toEqual(fresh.msrs);
  const image = new VcpuImage(vm.cpus[0].save());
  expect(image.reg('rip')).toBe(0xfff0n);
  expect(image.control('cr0')).toBe(0x60000010n);
});

kvmTest('an internal error names registers and the bytes at RIP', async () => {
  // paddd xmm0, [rbx]: of a device, which KVM does not do
  const { vm } = build(new Assembler().movEbx(0xd0000000).raw(0x66, 0x0f, 0xfe, 0x03).hlt());
  const image = new VcpuImage(vm.cpus[0].save());
  image.setControl('cr4', 0x620n);
  vm.cpus[0].load(image.data);
  const reason = await new Promise<StopReason>(resolve => {
    vm.onStopped(resolve);
    vm.start();
  });
  expect(reason.kind).toBe('internal-error');
  expect((reason as { message: string }).message).toMatch(
    /cannot emulate .*RIP 0x10005,.* RBX d0000000 .*bytes: 66 0f fe 03 f4/,
  );
});

for (const accel of ['kvm', 'soft'] as const) {
  // A KVM that interprets reports such a jump as its own failure: see the backend's message.
  const full = (name: string, body: () => Promise<void>) => kvmTest(name, body, 'full');
  const title =
    'a jump to device memory is an undefined opcode to the guest, and without a handler its end';
  (accel === 'kvm' ? full : test)(`${title}: ${accel}`, async () => {
    // mov eax, 0xd0000000; jmp rax
    const jump = () => new Assembler().raw(0xb8, 0, 0, 0, 0xd0, 0xff, 0xe0);
    const lost = build(jump(), accel);
    const reason = await new Promise<StopReason>(resolve => {
      lost.vm.onStopped(resolve);
      lost.vm.start();
    });
    expect(reason).toEqual({ kind: 'shutdown' });
    const saved = build(jump(), accel);
    const handler = CODE + 0x1000;
    saved.vm.ram.write(
      handler,
      new Assembler(handler).movEdx(0x80).movEax(6).outDxAl().hlt().code(),
    );
    saved.vm.ram.writeU64(
      IDT + 6 * 16,
      (BigInt(handler >>> 16) << 48n) | 0x8e00_0008_0000n | BigInt(handler & 0xffff),
    );
    const done = saved.bus.wait('out 80/1 6');
    saved.vm.start();
    await done;
    await saved.vm.stop();
    expect(saved.vm.ram.readU64(Number(new VcpuImage(saved.vm.cpus[0].save()).reg('rsp')))).toBe(
      0xd0000000n,
    ); // where it was
  });
}

kvmTest('a state that this KVM cannot take is refused by name', () => {
  const { vm } = emptyVm();
  const image = new VcpuImage(vm.cpus[0].save());
  image.setControl('cr4', 0x40000n); // OSXSAVE
  expect(vm.cpus[0].check(image.data)).toMatch(/CR4 .*soft-v1/);
  const foreign = Buffer.concat([vm.cpus[0].save(), Buffer.alloc(16)]);
  foreign.writeUInt32LE((foreign.length - 6176) / 16, 4);
  foreign.writeUInt32LE(0x1234, foreign.length - 16);
  foreign.writeUInt32LE(1, foreign.length - 8);
  expect(vm.cpus[0].check(foreign)).toMatch(/MSR 0x1234/);
});

kvmTest(
  'a stop inside an NMI handler: the next VM goes on there, and takes the NMI that waits after it',
  async () => {
    const program = new Assembler()
      .movEbx(LAPIC)
      .storeAtRbx(0xf0, 0x1ff)
      .storeAtRbx(0x310, 0)
      .storeAtRbx(0x300, 0x400);
    const { vm, bus } = build(program.movEdx(0x80).movEax(0x55).outDxAl().hlt());
    const handler = CODE + 0x1000;
    vm.ram.write(handler, nmiHandler(handler));
    vm.ram.writeU64(
      IDT + 2 * 16,
      (BigInt(handler >>> 16) << 48n) | 0x8e00_0008_0000n | BigInt(handler & 0xffff),
    );
    const stopped = new Promise<void>(
      resolve => (bus.onAccess = what => what === 'out 80/1 2' && resolve(vm.stop())),
    );
    vm.start();
    await stopped;
    expect(bus.seen).toEqual(['out 80/1 1', 'out 80/1 2']);
    expect(emptyVm('soft').vm.cpus[0].check(vm.cpus[0].save())).toBeUndefined();
    const next = emptyVm();
    move(vm, next.vm);
    const done = next.bus.wait('out 80/1 55');
    next.vm.start();
    await done;
    expect(next.bus.seen).toEqual([3, 1, 2, 3, 0x55].map(n => `out 80/1 ${n.toString(16)}`));
  },
  'full',
);

kvmTest(
  'SSE arithmetic at ring 0',
  async () => {
    // mov eax, cr4; or eax, 0x600; mov cr4, eax
    const a = new Assembler().raw(0x0f, 0x20, 0xe0, 0x0d, 0, 6, 0, 0, 0x0f, 0x22, 0xe0);
    // movd xmm0, eax; paddd xmm0, xmm0; movd eax, xmm0
    a.movEax(21).raw(0x66, 0x0f, 0x6e, 0xc0, 0x66, 0x0f, 0xfe, 0xc0, 0x66, 0x0f, 0x7e, 0xc0);
    const { vm, bus } = build(a.movEdx(0x80).outDxEax().hlt());
    const done = bus.wait('out 80/4 2a');
    vm.start();
    await done;
    await vm.stop();
    const { vm: other } = emptyVm('soft');
    move(vm, other);
    // XMM0 included
    expect(comparable(other.cpus[0].save()).fixed).toBe(comparable(vm.cpus[0].save()).fixed);
  },
  'full',
);

kvmTest('kick latency (printed, not judged)', async () => {
  const { vm } = build(new Assembler().jumpTo(CODE));
  const took: number[] = [];
  for (let i = 0; i < 30; i++) {
    vm.start();
    await sleep(2);
    const from = performance.now();
    await vm.stop();
    took.push((performance.now() - from) * 1000);
  }
  took.sort((x, y) => x - y);
  console.log(
    `stop of a spinning guest: ${took[15].toFixed(0)} us p50, ${took[27].toFixed(0)} us p90`,
  );
});
