/** Figures of memory and vCPU, as one JSON object: `node --import tsx test/bench/accel.ts`. Nothing here passes or fails. */
import { AddonRam } from '../../src/accel/ram.js';
import { AddonVm } from '../../src/accel/vm.js';
import { Assembler, loadToyGuest } from '../support/toy-guest.js';

const now = () => performance.now();
const later = (ms: number) => new Promise(resolve => setTimeout(resolve, ms));
const round = (value: number) => Number(value.toPrecision(3));

function quantiles(values: number[]): { p50: number; p90: number; p99: number } {
  values.sort((a, b) => a - b);
  const at = (q: number) => round(values[Math.floor(values.length * q)]);
  return { p50: at(0.5), p90: at(0.9), p99: at(0.99) };
}

async function withVm<T>(program: Assembler, fn: (vm: AddonVm) => Promise<T>): Promise<T> {
  const vm = new AddonVm(new AddonRam(4 << 20));
  loadToyGuest(vm, program);
  try {
    return await fn(vm);
  } finally {
    vm.dispose();
  }
}

/** Reads a port and times itself by the TSC, which is the guest's clock in ns; spins between reads. */
function timedReads(between: number): Assembler {
  const a = new Assembler();
  const top = a.here;
  a.movEcx(between).countDownEcx().raw(0x0f, 0x31, 0x89, 0xc6); // rdtsc; mov esi, eax
  a.movEdx(0x60).inEaxDx().raw(0x0f, 0x31, 0x29, 0xf0); // rdtsc; sub eax, esi
  return a.movEdx(0x62).outDxEax().jumpTo(top);
}

function exits(between: number, count: number) {
  return withVm(timedReads(between), async vm => {
    const took: number[] = [];
    const enough = new Promise<void>(resolve => {
      const pioWrite = (_port: number, _size: number, ns: number) => {
        if (took.push(ns / 1000) === count) resolve();
      };
      vm.setExitHandler({ pioRead: () => 0, pioWrite, mmioRead: () => 0n, mmioWrite: () => undefined });
    });
    vm.start();
    await enough;
    await vm.stop();
    return quantiles(took);
  });
}

function spinning(): Assembler {
  const a = new Assembler();
  const top = a.here;
  return a.movEcx(1_000_000_000).countDownEcx().jumpTo(top);
}

function stops(count: number) {
  return withVm(spinning(), async vm => {
    const took: number[] = [];
    for (let i = 0; i < count; i++) {
      vm.start();
      await later(1);
      const from = now();
      await vm.stop();
      took.push((now() - from) * 1000);
    }
    return quantiles(took);
  });
}

function speed() {
  return withVm(spinning(), async vm => {
    vm.start();
    const from = now();
    await later(500);
    await vm.stop(); // a running vCPU counts at the end of its run
    return round(Number(vm.icount()) / 1000 / (now() - from));
  });
}

function memory() {
  const ram = new AddonRam(256 << 20);
  const pages = Uint32Array.from({ length: ram.pageCount }, (_, i) => i);
  const bytes = new Uint8Array(ram.size).fill(7);
  const gibPerS = (fn: () => unknown) => {
    const from = now();
    fn();
    return round(ram.size / 2 ** 30 / ((now() - from) / 1000));
  };
  const scatterFresh = gibPerS(() => ram.scatter(pages, bytes));
  ram.dirtyLog.start();
  ram.dirtyLog.restore(pages);
  const from = now();
  ram.dirtyLog.take();
  const takeAllMs = round(now() - from);
  const mark = now();
  for (let i = 0; i < 1_000_000; i++) ram.writeU32(i * 64, i);
  const writeU32Ns = round(now() - mark);
  return {
    takeAllMs,
    writeU32Ns,
    scatterFreshGiBPerS: scatterFresh,
    scatterGiBPerS: gibPerS(() => ram.scatter(pages, bytes)),
    gatherGiBPerS: gibPerS(() => ram.gather(pages, bytes)),
    hashGiBPerS: gibPerS(() => ram.hash()),
  };
}

const result = {
  guestMips: await speed(),
  exitUs: { burst: await exits(1, 20_000), after10k: await exits(10_000, 5000), after100k: await exits(100_000, 2000) },
  stopUs: await stops(200),
  ram: memory(),
};
console.log(JSON.stringify(result, null, 1));
