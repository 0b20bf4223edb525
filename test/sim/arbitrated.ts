/** A pair that an arbiter decides for: what has to be true when it answers again. */
import type { Pair } from './pair.js';
import type { SimVm } from './vm.js';

/** Each question may have to be asked a dozen times. */
const DECIDED_MS = 4000;

const lives = ({ node, ended }: SimVm) => !node.dead && !ended;
/** What a disk has lost with a sync that failed no order brings back. */
const givenUp = (vm: SimVm) => /may be lost/.test(vm.exits.at(-1) ?? '');
const undecided = (vm: SimVm) => {
  const { state } = vm.colo.info();
  return lives(vm) && (state === 'lost' || (state === 'unfinished' && !givenUp(vm)));
};

/** Its guest has not run yet: whose it is was asked. */
const notBegun = (vm: SimVm) => lives(vm) && !vm.bornAgain && vm.lifecycle.state === 'prelaunch';

/** Until no side waits for an answer; every wait has an end. */
export async function untilArbitrated({ arbiter, world, primary, secondary }: Pair): Promise<void> {
  if (!arbiter) return;
  const waits = () => [primary, secondary].some(vm => undecided(vm) || notBegun(vm));
  for (const end = world.now + DECIDED_MS; world.now < end; await world.run(world.now + 20))
    if (world.failures.length > 0 || !waits()) return;
}

/** A side with a right to the guest goes on, and no other. */
export function checkArbitrated({ arbiter, world, primary, secondary, scenario }: Pair): void {
  if (!arbiter) return;
  const sides = [primary, secondary];
  for (const vm of sides.filter(undecided))
    world.fail(`${vm.name} is still ${vm.colo.info().state}, and the arbiter answers`);
  if (sides.every(vm => lives(vm) && vm.running)) world.fail('the guest runs on both sides');
  const owner = sides.find(({ name }) => name === arbiter.current()?.record.owner);
  // Who has read what is over may have stopped for it.
  const misled = scenario.misfortunes.some(({ kind }) => kind === 'arbiter-stale');
  if (owner && lives(owner) && !misled && owner.colo.info().state === 'yielded')
    world.fail(`${owner.name} has stopped for good, and the arbiter's record names it the owner`);
}
