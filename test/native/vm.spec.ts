/**
 * Goal: the whole way from guest instructions to JavaScript and back. Method: toy guests on the
 * software CPU, in a VM with its own thread and in a stepped one; the test is their device.
 */
import type { StopReason } from '../../src/accel/contract.js';
import { AddonRam } from '../../src/accel/ram.js';
import { AddonVm, SteppedVm } from '../../src/accel/vm.js';
import { heldPages } from '../support/held-pages.js';
import { Recorder } from '../support/recorder.js';
import { Assembler, CODE, loadToyGuest, RESULT, startTimer } from '../support/toy-guest.js';

const MIB = 1 << 20;

/** Looks every millisecond: how soon a guest gets a core is the host's affair. */
async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise(resolve => setTimeout(resolve, 1));
}

const open: AddonVm[] = [];

function build(program: Assembler, stepped: true): { vm: SteppedVm; bus: Recorder };
function build(program: Assembler): { vm: AddonVm; bus: Recorder };
function build(program: Assembler, stepped = false): { vm: AddonVm; bus: Recorder } {
  const ram = new AddonRam(4 * MIB);
  const vm = stepped ? new SteppedVm(ram) : new AddonVm(ram);
  const bus = new Recorder();
  vm.setExitHandler(bus);
  loadToyGuest(vm, program);
  open.push(vm);
  return { vm, bus };
}

afterEach(() => {
  for (const vm of open.splice(0)) vm.dispose();
});

/**
 * Counts, writes and reads a port, rings a doorbell, sleeps until the APIC timer has fired, says
 * so.
 */
function tour(): Assembler {
  const a = new Assembler();
  a.movEcx(1000).countDownEcx();
  a.movEdx(0x3f8).movEax(0x41).outDxAl().movEax(0).inAlDx().storeEax(RESULT);
  a.movEbx(0xfe003000).storeWordAtRbx(7).storeWordAtRbx(8);
  startTimer(a, 100_000).sti().hlt();
  a.loadEax(RESULT + 0x100)
    .movEdx(0x80)
    .outDxEax();
  return a.hlt();
}

const TOUR = ['out 3f8/1 41', 'in 3f8/1', 'store fe003000/2 8', 'out 80/4 1'];

test('a guest counts, talks to a port, rings, sleeps until its timer', async () => {
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
  expect(bus.seen).toEqual(TOUR);
  expect(rings).toEqual([2]); // before the exit that came after it
  expect(vm.ram.readU8(RESULT)).toBe(0x5a);
  expect(vm.ram.readU32(RESULT + 0x100)).toBe(1);
  expect(vm.icount(0)).toBeGreaterThan(2000n);
});

test('the same guest, stepped, twice: the same run', () => {
  const run = () => {
    const { vm, bus } = build(tour(), true);
    let rings = 0;
    vm.addDoorbell({
      space: 'mmio',
      address: 0xfe003000,
      size: 2,
      datamatch: 7,
      ring: () => rings++,
    });
    vm.start();
    while (vm.runFor(1000) === 'budget') vm.advance(10);
    expect(bus.seen).toEqual(TOUR.slice(0, 3));
    const deadline = vm.nextDeadlineNs()!;
    expect(deadline).toBeGreaterThan(vm.guestNs());
    vm.advance(deadline - vm.guestNs());
    expect(vm.runFor(1000)).toBe('halted');
    expect(bus.seen).toEqual(TOUR);
    expect(rings).toBe(1);
    return {
      icount: vm.icount(),
      ns: vm.guestNs(),
      hash: vm.ram.hash(),
      cpu: vm.cpus[0].save().toString('hex'),
    };
  };
  expect(run()).toEqual(run());
});

test('stop completes the exit that is being answered, and the guest goes on from there', async () => {
  const a = new Assembler().movEdx(0x60);
  const top = a.here;
  a.inEaxDx().incDword(RESULT).jumpTo(top);
  const { vm, bus } = build(a);
  for (let round = 0; round < 50; round++) {
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
    // Every access had its answer; the counter says how many the guest has seen (the last one's
    // increment may still be ahead).
    const counted = vm.ram.readU32(RESULT)!;
    expect(bus.seen.length - counted === 0 || bus.seen.length - counted === 1).toBe(true);
  }
});

test('state saved on one VM runs on in another', async () => {
  const a = new Assembler();
  const top = a.here;
  a.incDword(RESULT).jumpTo(top);
  const first = build(a);
  first.vm.start();
  await until(() => first.vm.ram.readU32(RESULT)! > 1000);
  await first.vm.stop();
  const second = new AddonVm(new AddonRam(4 * MIB));
  open.push(second);
  const pages = heldPages(first.vm.ram);
  const bytes = Buffer.alloc(pages.length * 4096);
  first.vm.ram.gather(pages, bytes);
  second.ram.scatter(pages, bytes);
  expect(second.ram.hash()).toBe(first.vm.ram.hash());
  for (const [to, from] of [
    [second.cpus[0], first.vm.cpus[0]],
    [second.chips, first.vm.chips],
  ] as const) {
    const state = from.save();
    expect(to.check(state)).toBeUndefined();
    to.load(state);
    expect(to.check(state.subarray(1))).toMatch(/state/);
  }
  second.continueClock(first.vm.guestNs());
  const counted = first.vm.ram.readU32(RESULT)!;
  second.start();
  await until(() => second.ram.readU32(RESULT)! > counted);
  await second.stop();
  expect(second.guestNs()).toBeGreaterThan(first.vm.guestNs() - 1_000_000_000n);
});

test('what the guest writes is in the dirty log', async () => {
  const a = new Assembler().movEax(1);
  for (const page of [300, 301, 500]) a.storeEax(page * 4096 + 8);
  a.movEdx(0x80).outDxAl();
  const top = a.here;
  a.jumpTo(top);
  const { vm, bus } = build(a);
  vm.ram.dirtyLog.start();
  const done = bus.wait('out 80/1 1');
  vm.start();
  await done;
  await vm.stop();
  const dirty = [...vm.ram.dirtyLog.take()];
  expect(dirty).toEqual(expect.arrayContaining([300, 301, 500]));
  // page tables: accessed bits
  expect(dirty.every(page => page < 16 || [300, 301, 500].includes(page))).toBe(true);
  expect(vm.ram.dirtyLog.count()).toBe(0);
});

test('a guest that keeps time by kvmclock hears that it was stopped', async () => {
  const a = new Assembler()
    .movEcx(0x4b564d01)
    .movEdx(0)
    .movEax(RESULT | 1)
    .raw(0x0f, 0x30); // wrmsr
  const { vm } = build(a.hlt(), true);
  vm.guestStopped(); // nobody to tell yet
  vm.start();
  vm.runFor(100);
  await vm.stop();
  const flags = RESULT + 29;
  expect(vm.ram.readU8(flags)).toBe(1); // the TSC is stable
  vm.ram.dirtyLog.start();
  vm.guestStopped();
  expect(vm.ram.readU8(flags)).toBe(3);
  expect([...vm.ram.dirtyLog.take()]).toEqual([RESULT / 4096]);
});

test("another backend's record of kvmclock stays as it was loaded until the guest runs", async () => {
  const a = new Assembler()
    .movEcx(0x4b564d01)
    .movEdx(0)
    .movEax(RESULT | 1)
    .raw(0x0f, 0x30) // wrmsr
    .movEdx(0x80)
    .outDxEax();
  const { vm, bus } = build(a.hlt());
  const done = bus.wait(`out 80/4 ${(RESULT | 1).toString(16)}`);
  vm.start();
  await done;
  await vm.stop();
  const multiplier = RESULT + 24;
  const ours = vm.ram.readU32(multiplier);
  vm.ram.writeU32(multiplier, 0x1234_5678);
  // The next epoch is told as what changed in the RAM that was sent.
  for (const part of [...vm.cpus, vm.chips]) part.load(part.save());
  expect(vm.ram.readU32(multiplier)).toBe(0x1234_5678);
  vm.start();
  await vm.stop();
  expect(vm.ram.readU32(multiplier)).toBe(ours);
});

test('code that the host replaces under a running guest is executed anew', async () => {
  const a = new Assembler().movEdx(0x80);
  const top = a.here;
  a.movEax(1).outDxAl().jumpTo(top);
  const { vm, bus } = build(a);
  const old = bus.wait('out 80/1 1');
  vm.start();
  await old;
  const fresh = bus.wait('out 80/1 2');
  vm.ram.writeU8(top + 1, 2);
  await fresh;
});

test('a triple fault stops the VM and says so', async () => {
  const { vm } = build(new Assembler().ud2());
  const reason = new Promise<StopReason>(resolve => vm.onStopped(resolve));
  vm.start();
  expect(await reason).toEqual({ kind: 'shutdown' });
  expect(vm.running).toBe(false);
});

test('interrupts from the device side wake a halted guest', async () => {
  const a = startTimer(new Assembler(), 0);
  const top = a.here;
  a.cli()
    .loadEax(RESULT + 0x100)
    .movEdx(0x80)
    .outDxEax()
    .sti()
    .hlt()
    .jumpTo(top); // nothing is taken between the report and the HLT
  const { vm, bus } = build(a);
  let report = bus.wait('out 80/4 0');
  vm.start();
  for (let i = 1; i <= 300; i++) {
    await report;
    // asleep by then; otherwise on its way to sleep
    if (i % 3 === 0) await new Promise(resolve => setTimeout(resolve, 1));
    report = bus.wait(`out 80/4 ${i.toString(16)}`);
    vm.signalMsi(0xfee00000n, 0x40);
  }
  await report;
});

test('an exit handler that stops a stepped VM ends the step', () => {
  const a = new Assembler().movEdx(0x604);
  const top = a.here;
  a.outDxAl().jumpTo(top);
  const { vm, bus } = build(a, true);
  bus.onAccess = () => void (bus.seen.length === 3 && vm.stop());
  vm.start();
  expect(vm.runFor(1_000_000)).toBe('stopped');
  expect(bus.seen.length).toBe(3);
  expect(vm.runFor(10)).toBe('stopped');
});

test('an exit handler that throws in a stepped VM is heard by its caller', () => {
  const { vm, bus } = build(new Assembler().movEdx(0x604).outDxAl().hlt(), true);
  bus.onAccess = () => {
    throw new Error('device bug');
  };
  vm.start();
  expect(() => vm.runFor(1000)).toThrow('device bug');
  expect(vm.runFor(1000)).toBe('halted');
});

test('the calls that need a stopped or a stepped VM say so', async () => {
  const a = new Assembler();
  a.jumpTo(CODE);
  const { vm } = build(a);
  vm.start();
  expect(() => vm.cpus[0].save()).toThrow('stopped');
  expect(() => vm.chips.save()).toThrow('stopped');
  expect(() => vm.continueClock(0n)).toThrow('stopped');
  await vm.stop();
  expect(vm.registers(0)).toMatch(/^RAX=0{16} .*\n(.*\n)*RIP=0000000000010000 RFL=00000002 /);
  vm.dispose();
  vm.dispose();
  expect(() => vm.start()).toThrow('closed');
});

// The main loop looks for the next exit a little longer than the shorter distances, and sleeps over
// the longer ones.
test('no exit is lost, at whatever distance it follows the last', async () => {
  const a = new Assembler();
  const top = a.here;
  // add ebx, 977; ecx = (ebx & 65535) + 1
  a.raw(0x81, 0xc3, 0xd1, 0x03, 0, 0, 0x89, 0xd9, 0x81, 0xe1, 0xff, 0xff, 0, 0, 0xff, 0xc1);
  a.countDownEcx().movEdx(0x60).inEaxDx().jumpTo(top);
  const { vm, bus } = build(a);
  let exits = 0;
  const enough = new Promise<void>(
    resolve => (bus.onAccess = () => void (++exits === 20_000 && resolve())),
  );
  vm.start();
  await enough;
  await vm.stop();
});

test('exit latency (printed, not judged)', async () => {
  const a = new Assembler();
  const top = a.here;
  a.movEdx(0x60).inEaxDx().movEcx(20_000).countDownEcx().jumpTo(top);
  const { vm, bus } = build(a);
  const at: number[] = [];
  const enough = new Promise<void>(resolve => {
    bus.onAccess = () => {
      at.push(performance.now() * 1000);
      if (at.length === 3000) resolve();
    };
  });
  vm.start();
  await enough;
  await vm.stop();
  const gaps = at
    .slice(1)
    .map((t, i) => t - at[i])
    .sort((x, y) => x - y);
  console.log(
    `exit to exit, 40000 instructions between: ${gaps[1500].toFixed(1)} us p50, ` +
      `${gaps[2700].toFixed(1)} us p90`,
  );
});
