/**
 * The figures of bench:accel: bare-metal guests on one backend, timed by the host, or by the
 * guest's own TSC set against the host's clock.
 */
import type { AccelName } from '../../../src/accel/choose.js';
import type { ExitHandler } from '../../../src/accel/contract.js';
import { AddonRam } from '../../../src/accel/ram.js';
import { resolveCpu, defaultCpu } from '../../../src/accel/cpu-model.js';
import { AddonVm, type VmOptions } from '../../../src/accel/vm.js';
import { loadSmpGuest, READY_PORT_VALUE } from '../../kvm/smp-guest.js';
import { Assembler, CODE, loadToyGuest, RESULT, startTimer } from '../../support/toy-guest.js';
import { type Quantiles, quantiles, rounded } from '../machine.js';

const MIB = 1 << 20;
const PORT = { time: 0x60, took: 0x62, ready: 0x64 };
const DOORBELL = 0xfe003000;
const FLAG = RESULT + 0x200;
/**
 * Turns of a loop between two exits, on the software CPU 40 us and 1 ms: the main loop still looks
 * for the next one; it sleeps.
 */
const NEAR = 20_000;
const FAR = 500_000;
const RDTSC_INTO_EAX = [0x0f, 0x31];
const now = () => performance.now();
const later = (ms: number) => new Promise(resolve => setTimeout(resolve, ms));

export interface Figures {
  guestMips: number;
  cpus: number;
  timed: Record<string, Quantiles>;
}

/** cpus: of the guest that is stopped with several vCPUs; 1: none is. */
export async function figuresOf(accel: AccelName, cpus: number): Promise<Figures> {
  const ticksPerUs = await tscRate(accel);
  const inGuest = async (...of: GuestTimes) =>
    quantiles((await guestTimes(accel, ...of)).map(ticks => ticks / ticksPerUs));
  const timed: Record<string, Quantiles> = {
    exitUs: await inGuest(exits(NEAR), 5000),
    exitFarUs: await inGuest(exits(FAR), 500),
    doorbellUs: await inGuest(doorbells(NEAR), 3000, rungIntoMemory),
    doorbellFarUs: await inGuest(doorbells(FAR), 500, rungIntoMemory),
    interruptHaltedUs: quantiles(await interrupts(accel, true, 1000)),
    interruptRunningUs: quantiles(await interrupts(accel, false, 1000)),
    kickUs: quantiles(await withVm(accel, spinning(), vm => kicks(vm, 200))),
    ...(cpus > 1 && { kickAllUs: quantiles(await kicksOfAll(accel, cpus, 200)) }),
    harvestMs: quantiles(await harvests(accel, 12)),
    ...(await stateTimes(accel, 300)),
  };
  return { guestMips: await speed(accel), cpus, timed };
}

function withVm<T>(
  accel: AccelName,
  program: Assembler,
  fn: (vm: AddonVm) => Promise<T>,
  ramBytes?: number,
): Promise<T> {
  return withEmptyVm(accel, vm => (loadToyGuest(vm, program), fn(vm)), ramBytes);
}

async function withEmptyVm<T>(
  accel: AccelName,
  fn: (vm: AddonVm) => Promise<T>,
  ramBytes = 4 * MIB,
  options: VmOptions = {},
): Promise<T> {
  const vm = new AddonVm(new AddonRam(ramBytes), accel, options);
  try {
    return await fn(vm);
  } finally {
    vm.dispose();
  }
}

function ports(write: (port: number, value: number) => void): ExitHandler {
  return {
    pioRead: () => 0,
    pioWrite: (port, _size, value) => write(port, value),
    mmioRead: () => 0n,
    mmioWrite: () => undefined,
  };
}

/** Ticks of the guest's TSC in a microsecond of the host. */
function tscRate(accel: AccelName): Promise<number> {
  const a = new Assembler();
  const top = a.here;
  a.raw(...RDTSC_INTO_EAX)
    .movEdx(PORT.time)
    .outDxEax()
    .movEcx(10_000)
    .countDownEcx()
    .jumpTo(top);
  return withVm(accel, a, async vm => {
    const seen: { atUs: number; ticks: number }[] = [];
    vm.setExitHandler(ports((_port, ticks) => void seen.push({ atUs: now() * 1000, ticks })));
    vm.start();
    for (let waited = 0; waited < 200 || (seen.length < 16 && waited < 10_000); waited += 20)
      await later(20);
    await vm.stop();
    if (seen.length < 16)
      throw new Error(`${accel}: the guest reported its TSC ${seen.length} times in 10 s`);
    const [first, last] = [seen[Math.floor(seen.length / 4)], seen[seen.length - 1]];
    return ((last.ticks - first.ticks) >>> 0) / (last.atUs - first.atUs);
  });
}

/** rdtsc; what is measured; rdtsc; the difference to PORT.took. */
function measured(turnsBetween: number, body: (a: Assembler) => Assembler): Assembler {
  const a = new Assembler();
  const top = a.here;
  a.movEcx(turnsBetween)
    .countDownEcx()
    .raw(...RDTSC_INTO_EAX, 0x89, 0xc6); // mov esi, eax
  body(a).raw(...RDTSC_INTO_EAX, 0x29, 0xf0); // sub eax, esi
  return a.movEdx(PORT.took).outDxEax().jumpTo(top);
}

/** A port read that TypeScript answers. */
const exits = (turnsBetween: number) => measured(turnsBetween, a => a.movEdx(PORT.time).inEaxDx());

/** A doorbell, and a look at memory until TypeScript has answered there. */
const doorbells = (turnsBetween: number) =>
  measured(turnsBetween, a => {
    a.movEax(0).storeEax(FLAG).movEbx(DOORBELL).storeWordAtRbx(0);
    const top = a.here;
    return a.loadEax(FLAG).raw(0x85, 0xc0, 0x74, top - (a.here + 4)); // test eax, eax; jz top
  });

function rungIntoMemory(vm: AddonVm): void {
  vm.addDoorbell({
    space: 'mmio',
    address: DOORBELL,
    size: 2,
    ring: () => void vm.ram.writeU32(FLAG, 1),
  });
}

type GuestTimes = [program: Assembler, count: number, prepare?: (vm: AddonVm) => void];

/** Ticks of the guest's TSC. */
function guestTimes(
  accel: AccelName,
  ...[program, count, prepare = () => undefined]: GuestTimes
): Promise<number[]> {
  return withVm(accel, program, async vm => {
    const took: number[] = [];
    await new Promise<void>(resolve => {
      vm.setExitHandler(
        ports(
          (port, ticks) =>
            void (port === PORT.took && took.push(ticks >>> 0) === count && resolve()),
        ),
      );
      prepare(vm);
      vm.start();
    });
    await vm.stop();
    return took;
  });
}

/**
 * From signalMsi to the port write by which the guest says that it had it. halted: the guest sleeps
 * until then.
 */
function interrupts(accel: AccelName, halted: boolean, count: number): Promise<number[]> {
  const a = startTimer(new Assembler(), 0);
  const top = a.here;
  a.cli()
    .loadEax(RESULT + 0x100)
    .movEdx(PORT.ready)
    .outDxEax()
    .raw(0x89, 0xc6)
    .sti(); // mov esi, eax: what was counted so far
  const wait = a.here;
  if (halted) a.hlt();
  a.loadEax(RESULT + 0x100).raw(0x39, 0xf0, 0x74, wait - (a.here + 4)); // cmp eax, esi; je wait
  a.jumpTo(top);
  return withVm(accel, a, async vm => {
    const took: number[] = [];
    let reported: () => void = () => undefined;
    vm.setExitHandler(ports(() => reported()));
    let report = new Promise<void>(resolve => (reported = resolve));
    vm.start();
    for (let i = 0; i < count; i++) {
      await report;
      await later(0);
      let at = 0;
      report = new Promise<void>(resolve => (reported = () => ((at = now()), resolve())));
      const from = now();
      vm.signalMsi(0xfee00000n, 0x40);
      await report;
      took.push((at - from) * 1000);
    }
    await vm.stop();
    return took;
  });
}

function spinning(): Assembler {
  return new Assembler().jumpTo(CODE);
}

/** From stop() until all vCPUs stand still. */
async function kicks(vm: AddonVm, count: number): Promise<number[]> {
  const took: number[] = [];
  for (let i = 0; i < count; i++) {
    vm.start();
    await later(1);
    const from = now();
    await vm.stop();
    took.push((now() - from) * 1000);
  }
  return took;
}

/** The vCPUs interrupt each other without a pause. */
function kicksOfAll(accel: AccelName, cpus: number, count: number): Promise<number[]> {
  const cpu = resolveCpu(defaultCpu, accel, { sockets: 1, cores: cpus, threads: 1 });
  const whole = async (vm: AddonVm) => {
    loadSmpGuest(vm);
    const ready = new Promise<void>(resolve =>
      vm.setExitHandler(ports((_port, value) => void (value === READY_PORT_VALUE && resolve()))),
    );
    vm.start();
    await ready;
    await vm.stop();
    return kicks(vm, count);
  };
  return withEmptyVm(accel, whole, undefined, { cpu });
}

/** 20,000 pages all over 1 GiB, written by the guest: taking the log and copying them out. */
function harvests(accel: AccelName, count: number): Promise<number[]> {
  const pages = 20_000;
  const stride = 12 * 4096;
  const a = new Assembler();
  const top = a.here;
  a.movEbx(64 * MIB).movEcx(pages);
  const next = a.here;
  a.raw(0x89, 0x0b, 0x81, 0xc3, stride & 0xff, (stride >> 8) & 0xff, (stride >> 16) & 0xff, 0).raw(
    0xff,
    0xc9,
    0x75,
    next - (a.here + 4),
  ); // mov [rbx], ecx; add ebx, stride; dec ecx; jnz next
  a.movEdx(PORT.ready).outDxEax().jumpTo(top);
  const into = new Uint8Array((pages + 64) * 4096);
  const round = async (vm: AddonVm) => {
    const written = new Promise<void>(resolve =>
      vm.setExitHandler(ports(() => resolve(vm.stop()))),
    );
    vm.start();
    await written;
    const from = now();
    const dirty = vm.ram.dirtyLog.take();
    vm.ram.gather(dirty, into.subarray(0, dirty.length * 4096));
    const ms = now() - from;
    if (dirty.length < pages)
      throw new Error(`the dirty log has ${dirty.length} pages of ${pages}`);
    return ms;
  };
  return withVm(
    accel,
    a,
    async vm => {
      vm.ram.dirtyLog.start();
      await round(vm); // the pages come to be
      const took: number[] = [];
      for (let i = 0; i < count; i++) took.push(await round(vm));
      return took;
    },
    1024 * MIB,
  );
}

/** All vCPUs, chips and the clock, as a checkpoint takes and loads them. */
function stateTimes(accel: AccelName, count: number): Promise<Record<string, Quantiles>> {
  return withVm(accel, spinning(), async vm => {
    const save: number[] = [];
    const load: number[] = [];
    const blobs = [...vm.cpus, vm.chips];
    for (let i = 0; i < count; i++) {
      vm.start();
      await vm.stop();
      const from = now();
      const saved = blobs.map(blob => blob.save());
      const between = now();
      blobs.forEach((blob, n) => blob.load(saved[n]));
      load.push((now() - between) * 1000);
      save.push((between - from) * 1000);
    }
    return { saveUs: quantiles(save), loadUs: quantiles(load) };
  });
}

/**
 * Instructions per microsecond of a plain loop. A backend that does not count them (KVM) runs a
 * counted one to its end.
 */
function speed(accel: AccelName): Promise<number> {
  const turns = 400_000_000;
  const a = new Assembler()
    .movEdx(PORT.ready)
    .outDxEax()
    .movEcx(turns)
    .countDownEcx()
    .movEdx(PORT.took)
    .outDxEax()
    .hlt();
  return withVm(accel, a, async vm => {
    let from = 0;
    const ms = await new Promise<number>(resolve => {
      vm.setExitHandler(
        ports(port => (port === PORT.ready ? (from = now()) : resolve(now() - from))),
      );
      vm.start();
    });
    await vm.stop();
    return rounded((2 * turns) / 1000 / ms);
  });
}

export function memoryFigures(): Record<string, number> {
  const ram = new AddonRam(256 * MIB);
  const pages = Uint32Array.from({ length: ram.pageCount }, (_, i) => i);
  const bytes = new Uint8Array(ram.size).fill(7);
  const gibPerS = (fn: () => unknown) => {
    const from = now();
    fn();
    return rounded(ram.size / 2 ** 30 / ((now() - from) / 1000));
  };
  const scatterFreshGiBPerS = gibPerS(() => ram.scatter(pages, bytes));
  ram.dirtyLog.start();
  ram.dirtyLog.restore(pages);
  const from = now();
  ram.dirtyLog.take();
  const takeAllMs = rounded(now() - from);
  const mark = now();
  for (let i = 0; i < 1_000_000; i++) ram.writeU32(i * 64, i);
  const writeU32Ns = rounded(now() - mark);
  return {
    takeAllMs,
    writeU32Ns,
    scatterFreshGiBPerS,
    scatterGiBPerS: gibPerS(() => ram.scatter(pages, bytes)),
    gatherGiBPerS: gibPerS(() => ram.gather(pages, bytes)),
    hashGiBPerS: gibPerS(() => ram.hash()),
  };
}
