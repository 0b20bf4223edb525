/** How a misfortune comes over a pair. */
import type { StorageFaults } from '../support/sim/files.js';
import { Random } from '../support/random.js';
import { restart } from './again.js';
import type { Misfortune } from './misfortunes.js';
import type { Pair } from './pair.js';
import { useVerb } from './verbs.js';
import type { SimVm } from './vm.js';

type Timed = Extract<Misfortune, { at: number }>;
type Of<K extends Misfortune['kind']> = Extract<Misfortune, { kind: K }>;

export function strike(pair: Pair, m: Timed): void {
  const { network, world } = pair;
  const vm = pair.sideOf(m);
  switch (m.kind) {
    case 'crash':
      return vm.node.crash(m.clean);
    case 'restart':
      return restart(pair, m);
    case 'pause':
      return vm.node.pause(m.ms);
    case 'silence':
      return network.block(m.ms);
    case 'slow-link':
      return network.slow(m.ms, m.latencyMs);
    case 'cut-now':
      return network.cut(m.port);
    case 'one-sided':
      network.block(m.ms);
      return network.breakEnd({ from: m.side, port: m.port }, m.code);
    case 'storage':
      return troubleStorage(vm, m);
    case 'clock':
      return troubleClock(pair, vm, m);
    case 'tap-full':
      for (const tap of vm.taps) tap.full = true;
      return void world.after(m.ms, () => vm.taps.forEach(tap => (tap.full = false)));
    case 'verb':
      return vm.node.deliver('input', () => void useVerb(vm, m.verb));
    case 'failover':
      return pair.decideFor(vm);
    case 'failover-both':
      return pair.decideForBoth(m.lag);
    case 'arbiter-away':
      pair.arbiter?.away(m.side, true);
      return void world.after(m.ms, () => pair.arbiter?.away(m.side, false));
    case 'arbiter-stale':
      pair.arbiter?.stopsReading(m.side, true);
      return void world.after(m.ms, () => pair.arbiter?.stopsReading(m.side, false));
    case 'shutdown':
      world.note('P', 'guest shuts down');
      return pair.primary.powersOff();
  }
}

function troubleStorage(vm: SimVm, m: Of<'storage'>): void {
  const { storage, node } = vm;
  const { world } = node;
  world.note(node.name, `disk: ${m.how} for ${m.ms.toFixed(1)} ms on ${m.path}`);
  const chance = new Random(world.seed + 99);
  const wanted = new RegExp(m.path);
  const fails = (operation: string, path: string) => {
    if (!wanted.test(path) || m.how === 'slow') return undefined;
    const grows = operation === 'pwrite' || operation === 'truncate';
    if (m.how === 'ENOSPC') return grows ? 'ENOSPC' : undefined;
    return chance.chance(0.5) ? 'EIO' : undefined;
  };
  const faults: StorageFaults = {
    latencyMs: m.how === 'slow' ? [5, 60] : [0.02, 0.3],
    fault: fails,
  };
  storage.faults = faults;
  world.after(m.ms, () => {
    if (storage.faults !== faults) return;
    world.note(node.name, 'disk: as before');
    storage.calm();
  });
}

function troubleClock(pair: Pair, vm: SimVm, m: Of<'clock'>): void {
  const { clock, world } = vm.node;
  world.note(vm.name, `clock: ${m.how} ${m.ms.toFixed(1)} ms`);
  if (m.how === 'jump-wall') return clock.wall.jump(m.ms);
  const hands = { 'freeze-monotonic': [clock.monotonic], 'freeze-wall': [clock.wall] } as const;
  const all = [clock.monotonic, clock.boot, clock.wall];
  const frozen = m.how === 'freeze-both' ? all : hands[m.how];
  if (m.how === 'freeze-both') {
    vm.node.pause(m.ms);
    if (vm === pair.primary) pair.history.frozen = true;
  }
  for (const hand of frozen) hand.freeze();
  world.after(m.ms, () => frozen.forEach(hand => hand.thaw()));
}
