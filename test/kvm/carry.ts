/**
 * A working Linux is carried from one backend to the next and back: KVM -> software CPU -> software
 * CPU -> KVM -> KVM. After each move RAM and registers are what they were (without what never
 * stands still), and the guest goes on writing its disk. One line of JSON.
 */
import type { AccelName } from '../../src/accel/choose.js';
import { guestImage } from '../guest/build.js';
import { GuestVm } from '../guest/vm.js';
import { TestDisk } from '../support/device-bench.js';
import { comparable } from './comparable.js';

const limitMs = 300_000;
const way: readonly AccelName[] = ['kvm', 'soft', 'soft', 'kvm', 'kvm'];
const disk = new TestDisk(65_536);
const writes = () => disk.log.filter(line => line.startsWith('write')).length;
const from = performance.now();
const moves: string[] = [];

async function boot(): Promise<GuestVm> {
  const { kernel, initrd } = guestImage();
  const vm = await GuestVm.build(
    {
      kernel,
      initrd,
      append:
        'console=ttyS0 quiet cryptomgr.notests colo.pages=200 colo.dirty=20 colo.ip=10.0.2.15',
    },
    { disk, accel: way[0], limitMs },
  );
  vm.machine().start();
  await vm.until('ready', () => vm.console.written.includes('colo-guest: ready'));
  return vm;
}

async function works(vm: GuestVm): Promise<void> {
  const before = writes();
  await vm.until('disk writes', () => writes() > before + 20);
  if (/BUG|WARNING|FAILED|Kernel panic/.test(vm.console.written))
    throw new Error(`the console says: ${vm.console.written.slice(-500)}`);
}

const SYSTEM_TIME_NEW = '4b564d01';
const clockBytes = 32;

/** The kvmclock of the host is written anew where a guest arrives: its structure is left out. */
function ramDifference(a: GuestVm, b: GuestVm): string | undefined {
  const [x, y] = [a, b].map(vm => vm.machine().lifecycle.ram);
  const clocks = a
    .machine()
    .accel.cpus.map(cpu =>
      Number(BigInt(`0x${comparable(cpu.save()).msrs[SYSTEM_TIME_NEW] ?? '0'}`) & ~1n),
    );
  const step = 1 << 20;
  for (let at = 0; at < x.size; at += step) {
    const [left, right] = [x.read(at, step), y.read(at, step)];
    for (const clock of clocks)
      if (clock >= at && clock < at + step)
        for (const half of [left, right]) half?.fill(0, clock - at, clock - at + clockBytes);
    if (left && right && !left.equals(right))
      return (
        `RAM differs in the MiB at 0x${at.toString(16)}, byte ` +
        `${left.findIndex((byte, i) => byte !== right[i])}`
      );
  }
  return undefined;
}

/** Registers of every vCPU; of the MSRs those that both sides have. */
function difference(a: GuestVm, b: GuestVm): string | undefined {
  const inRam = ramDifference(a, b);
  if (inRam !== undefined) return inRam;
  for (const [n, cpu] of a.machine().accel.cpus.entries()) {
    const [x, y] = [comparable(cpu.save()), comparable(b.machine().accel.cpus[n].save())];
    if (x.fixed !== y.fixed)
      return `the registers of vCPU ${n} differ: ${firstDifference(x.fixed, y.fixed)}`;
    for (const index of Object.keys(x.msrs))
      if (index in y.msrs && x.msrs[index] !== y.msrs[index])
        return `MSR 0x${index} differs: 0x${x.msrs[index]}, 0x${y.msrs[index]}`;
  }
  return undefined;
}

function firstDifference(a: string, b: string): string {
  let at = 0;
  while (at < a.length && a[at] === b[at]) at += 8;
  return `byte ${8 + (at >> 1)}: ${a.slice(at, at + 8)}, ${b.slice(at, at + 8)}`;
}

async function move(vm: GuestVm, to: AccelName): Promise<GuestVm> {
  const name = `${vm.machine().accel.name} to ${to}`;
  await vm.machine().lifecycle.stopForCheckpoint();
  const next = await GuestVm.build({ incoming: 'tcp:0:0' }, { disk, accel: to, limitMs });
  vm.carryTo(next);
  const wrong = difference(vm, next);
  if (wrong !== undefined) throw new Error(`${name}: ${wrong}`);
  await vm.machine().dispose();
  next.machine().lifecycle.goOnAfterFailover({ run: true });
  await works(next);
  moves.push(name);
  return next;
}

try {
  let vm = await boot();
  await works(vm);
  for (const to of way.slice(1)) vm = await move(vm, to);
  await vm.machine().dispose();
  console.log(JSON.stringify({ ok: true, moves, ms: Math.round(performance.now() - from) }));
} catch (error) {
  console.log(JSON.stringify({ ok: false, moves, error: (error as Error).message }));
}
process.exit(0);
