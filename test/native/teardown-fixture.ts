/**
 * Run by teardown.spec.ts as a process of its own: ends at a bad moment, in the way that its
 * argument names. Prints "alive" first.
 */
import { Worker, isMainThread, parentPort, workerData } from 'node:worker_threads';
import { AddonRam } from '../../src/accel/ram.js';
import { AddonVm } from '../../src/accel/vm.js';
import { Assembler, loadToyGuest } from '../support/toy-guest.js';

/** A guest that makes exits without end, and rings a doorbell between them. */
function storm(): AddonVm {
  const vm = new AddonVm(new AddonRam(4 << 20));
  const a = new Assembler().movEdx(0x60).movEbx(0xfe003000);
  const top = a.here;
  a.inEaxDx().storeWordAtRbx(1).jumpTo(top);
  loadToyGuest(vm, a);
  vm.addDoorbell({ space: 'mmio', address: 0xfe003000, size: 2, ring: () => undefined });
  return vm;
}

function spin(vm: AddonVm, onExit: () => void = () => undefined): AddonVm {
  const answer = () => {
    onExit();
    return 1;
  };
  vm.setExitHandler({ pioRead: answer, pioWrite: answer, mmioRead: () => 0n, mmioWrite: answer });
  vm.start();
  return vm;
}

const later = (ms: number) => new Promise(resolve => setTimeout(resolve, ms));
let exits = 0;

const ways: Record<string, () => void | Promise<void>> = {
  /** process.exit() in the middle of an exit. */
  exit: () => void spin(storm(), () => ++exits === 1000 && process.exit(0)),
  /** The main module ends; a stopped VM does not keep the process. */
  idle: async () => {
    const vm = spin(storm());
    await later(20);
    await vm.stop();
  },
  /** dispose() from inside of an exit, then the process ends by itself. */
  dispose: () => {
    const vm = storm();
    spin(vm, () => ++exits === 1000 && vm.dispose());
  },
  /** A device that throws: an uncaught exception, which this process survives once. */
  throws: async () => {
    const caught = new Promise(resolve => process.once('uncaughtException', resolve));
    const vm = spin(storm(), () => {
      if (++exits === 1000) throw new Error('device bug');
    });
    await caught;
    await vm.stop();
  },
  /** VMs that nobody holds are collected, also with windows of their RAM alive. */
  collect: async () => {
    const views: Uint8Array[] = [];
    for (let i = 0; i < 20; i++) {
      const vm = spin(storm());
      await later(2);
      await vm.stop();
      views.push(vm.ram.view(0x10000, 16)!);
      vm.dispose();
      globalThis.gc!();
    }
    await later(10);
    globalThis.gc!();
    if (views.some(v => v[0] !== 0xba)) throw new Error('a window died with its VM');
  },
  /** A running VM that nobody holds is not collected. */
  held: async () => {
    spin(storm(), () => exits++);
    for (let i = 0; i < 10; i++) {
      await later(5);
      globalThis.gc!();
    }
    const before = exits;
    await later(20);
    process.exit(exits > before ? 0 : 1);
  },
  terminate: () => worker('run', async w => void (await w.terminate())),
  'worker-exit': () => worker('exit', () => undefined),
};

/** The loader of TypeScript does not reach workers by itself. */
const inWorker =
  `import('tsx/esm/api').then(({ register }) => { register(); return ` +
  `import(${JSON.stringify(import.meta.url)}) })`;

async function worker(mode: string, then: (w: Worker) => void | Promise<void>): Promise<void> {
  for (let i = 0; i < 3; i++) {
    const w = new Worker(inWorker, { eval: true, workerData: mode });
    const gone = new Promise(resolve => w.once('exit', resolve));
    await new Promise(resolve => w.once('message', resolve));
    await then(w);
    await gone;
  }
}

if (isMainThread) {
  console.log('alive');
  await ways[process.argv[2]]();
} else {
  spin(storm(), () => {
    if (++exits === 500) parentPort!.postMessage('running');
    if (workerData === 'exit' && exits === 1000) process.exit(0);
  });
}
