/**
 * Goal: a planned swap of roles gives the guest to the secondary, which goes on from where it stood
 * still; whatever fails on the way, one side at most goes on. Method: the simulated pair with an
 * arbiter and without, told to swap, and struck at each step on the way.
 */
import type { VmError } from '../../src/base/errors.js';
import type { ColoStep } from '../../src/colo/steps.js';
import { ports } from './command-line.js';
import { inStep, inStepByAgents, states } from './in-step.js';
import { Pair } from './pair.js';

/** Settles with what came of it, also when its process dies. */
const swap = (p: Pair) =>
  p.primary.user.qmp('x-colo-switchover').then(
    () => 'swapped',
    (error: VmError) => error.message,
  );

async function expectService(p: Pair): Promise<void> {
  const sent = p.history.packets.length;
  await p.world.run(p.world.now + 150);
  const vm = p.secondary.running ? p.secondary : p.primary;
  expect(p.history.packets.slice(sent).some(({ from }) => from === vm.name)).toBe(true);
  p.history.oneMachine(vm.step);
  vm.checkImages();
  expect(p.world.failures).toEqual([]);
}

describe.each([true, false])('with an arbiter: %s', arbitrated => {
  it.each([1, 2, 3])('seed %i: the roles are swapped, and nothing is lost', async seed => {
    const { p, store } = await inStep(seed, arbitrated);
    const before = p.world.now;
    expect(await p.world.play(swap(p))).toBe('swapped');
    expect(p.world.now - before).toBeLessThan(80);
    await p.world.run(p.world.now + 20);
    expect(states(p)).toEqual(['yielded', 'completed']);
    expect(p.primary.exits).toEqual([
      'request its roles were swapped: the secondary has the guest',
    ]);
    expect(p.secondary.exits).toEqual(['request ']);
    expect([p.primary.running, p.secondary.running]).toEqual([false, true]);
    // What the last checkpoint held is what goes on: the guest stood still meanwhile.
    expect(p.history.committed!.step).toBe(p.primary.step);
    if (store)
      expect(store.history.at(-1)).toMatchObject({ owner: 'S', replica: undefined, inStep: false });
    await expectService(p);
    await expect(p.primary.lostHeartbeat()).rejects.toThrow('the other side goes on');
  });

  it('it is refused where it makes no sense', async () => {
    const { p } = await inStep(4, arbitrated);
    await expect(p.secondary.user.qmp('x-colo-switchover')).rejects.toThrow(
      'this side is the secondary: the primary is told to swap the roles',
    );
    const both = [swap(p), swap(p)].map(one => p.world.play(one));
    expect(await Promise.all(both)).toEqual(['swapped', 'swapped']);
    await expect(p.primary.user.qmp('x-colo-switchover')).rejects.toThrow('not in step');
    const alone = await Pair.create({ seed: 4, misfortunes: [] });
    await expect(alone.primary.user.qmp('x-colo-switchover')).rejects.toThrow(
      "The feature 'colo' is not enabled",
    );
  });
});

it('an arbiter that is away, or does not call the secondary in step, forbids it', async () => {
  const { p, store } = await inStep(5);
  store!.away('P', true);
  expect(await p.world.play(swap(p))).toContain("the arbiter 'sim:' is away");
  store!.away('P', false);
  const last = store!.history.at(-1)!;
  store!.history.push({ ...last, term: last.term + 1, replica: undefined, inStep: false });
  expect(await p.world.play(swap(p))).toContain('does not call the secondary in step');
  expect(states(p)).toEqual(['protected', 'protected']);
  await expectService(p);
});

const runStateOf = ({ lifecycle }: Pair['primary']) => lifecycle.state;

/** The user's word at a step of the primary while roles are swapped, and what came of both. */
async function said(p: Pair, at: ColoStep, verb: string): Promise<readonly [string, string]> {
  const word = new Promise<string>(resolve => {
    p.onStepOf = step => {
      if (step !== at) return;
      p.onStepOf = () => undefined;
      p.primary.user.qmp(verb).then(
        () => resolve('done'),
        (error: VmError) => resolve(error.message),
      );
    };
  });
  return [await p.world.play(swap(p)), await p.world.play(word)];
}

it.each(['before it', 'accepted', 'primary-stopped', 'primary-committed'] as const)(
  'a stop of the guest, %s: it arrives stopped, and goes on there',
  async when => {
    const { p } = await inStep(4, when !== 'primary-stopped');
    if (when === 'before it' || when === 'accepted') {
      const swapped = when === 'accepted' ? swap(p) : undefined;
      await p.world.play(p.primary.user.qmp('stop'));
      expect(await p.world.play(swapped ?? swap(p))).toBe('swapped');
    } else expect(await said(p, when, 'stop')).toEqual(['swapped', 'done']);
    await p.world.run(p.world.now + 50);
    expect([states(p), runStateOf(p.secondary)]).toEqual([['yielded', 'completed'], 'paused']);
    const before = p.history.packets.length;
    await p.world.run(p.world.now + 100);
    expect([p.secondary.running, p.history.packets.length]).toEqual([false, before]);
    await p.world.play(p.secondary.user.qmp('cont'));
    await expectService(p);
  },
);

it('once it is handed over a stop is the other side’s', async () => {
  const { p } = await inStep(4);
  const [swapped, told] = await said(p, 'primary-handing-over', 'stop');
  expect(swapped).toBe('swapped');
  expect(told).toContain('is being handed over to the other side, whose monitor stops it');
  await expectService(p);
});

it.each([
  ['system_reset', 'the guest is being reset'],
  ['system_powerdown', 'its power button is being pressed'],
])('%s during the last checkpoint: it is carried out here', async (verb, why) => {
  const { p } = await inStep(4);
  expect(await said(p, 'primary-stopped', verb)).toEqual([`no swap of roles: ${why}`, 'done']);
  await p.world.run(p.world.now + 100);
  // Both end with their guest where it obeys the button.
  if (verb === 'system_powerdown') return expect(states(p)).toEqual(['ended', 'ended']);
  expect(states(p)).toEqual(['protected', 'protected']);
  await expectService(p);
  // Nothing of it is left in the way of the next.
  expect(await p.world.play(swap(p))).toBe('swapped');
  await expectService(p);
});

it('a guest that waits for its disk goes on with that of the other side', async () => {
  const { p } = await inStep(4);
  p.onStepOf = step => void (step === 'primary-stopped' && p.primary.lifecycle.ioError());
  expect(await p.world.play(swap(p))).toBe('swapped');
  p.onStepOf = () => undefined;
  await expectService(p);
});

it('a fence agent would switch a host off: it is refused, and nobody is asked', async () => {
  const { p, stores } = await inStepByAgents(5);
  const asked = stores.get('S')!.history.length;
  expect(await p.world.play(swap(p))).toContain('would have this host switched off');
  const leave = p.world.play(p.secondary.user.qmp('x-colo-leave'));
  await expect(leave).rejects.toThrow('would have the leaving host switched off');
  expect(states(p)).toEqual(['protected', 'protected']);
  expect(stores.get('S')!.history.length).toBe(asked);
  await expectService(p);
});

it('a checkpoint that is given up: the guest goes on as it was, protected', async () => {
  const { p } = await inStep(6);
  const latencyMs = [450, 450] as const;
  p.secondary.storage.faults = { latencyMs, fault: () => undefined };
  await p.world.run(p.world.now + 30);
  const outcome = swap(p);
  await p.world.run(p.world.now + 700);
  p.secondary.storage.calm();
  expect(await p.world.play(outcome)).toContain('no swap of roles');
  await p.world.run(p.world.now + 200);
  expect([states(p), p.primary.running]).toEqual([['protected', 'protected'], true]);
  await expectService(p);
});

it('the secondary is the owner before it hears of that: it is not dropped, and goes on', async () => {
  const { p, store } = await inStep(7);
  const outcome = swap(p);
  while (store!.history.at(-1)!.owner !== 'S') await p.world.run(p.world.now + 0.05);
  store!.away('S', true);
  // The primary has given the swap up meanwhile, and claims.
  await p.world.run(p.world.now + 300);
  expect(await p.world.play(outcome)).toContain('the secondary has not taken over');
  store!.away('S', false);
  await p.world.run(p.world.now + 500);
  expect([states(p), p.secondary.running]).toEqual([['yielded', 'completed'], true]);
  await expectService(p);
});

it('a secondary that cannot reach the arbiter: the old primary goes on', async () => {
  const { p, store } = await inStep(7);
  store!.away('S', true);
  expect(await p.world.play(swap(p))).toContain('the secondary has not taken over');
  await p.world.run(p.world.now + 300);
  expect([states(p), p.primary.running]).toEqual([['completed', 'yielded'], true]);
  expect(store!.history.at(-1)!.owner).toBe('P');
  await expectService(p);
});

/**
 * The steps that each side passes from where the last checkpoint is offered, in order, once each.
 * Those before are of every checkpoint.
 */
async function stepsOnTheWay(): Promise<ColoStep[]> {
  const { p } = await inStep(8);
  const passed = new Set<ColoStep>();
  p.onStepOf = step => void (/ping|pong|pages|blob/.test(step) || passed.add(step));
  await p.world.play(swap(p));
  await p.world.run(p.world.now + 50);
  return [...passed].slice([...passed].indexOf('primary-offered'));
}

const blows = {
  'a crash': (p: Pair, step: ColoStep) => sideOf(p, step).node.crash(p.world.seed % 2 === 0),
  'a pause': (p: Pair, step: ColoStep) => sideOf(p, step).node.pause(400),
  'a cut': (p: Pair) => p.network.cut(ports.migration),
};
const sideOf = (p: Pair, step: ColoStep) => (step.startsWith('primary') ? p.primary : p.secondary);

it.each(Object.keys(blows) as (keyof typeof blows)[])(
  '%s at each step: one side goes on at most, on what the client has seen',
  async blow => {
    const ends = new Set<string>();
    for (const [n, at] of (await stepsOnTheWay()).entries()) {
      const { p, store } = await inStep(8 + (n % 2), n % 3 > 0);
      let struck = false;
      p.onStepOf = step => {
        if (step !== at || struck) return;
        struck = true;
        blows[blow](p, step);
      };
      void swap(p);
      await p.world.run(p.world.now + 1500);
      expect([at, struck, p.world.failures]).toEqual([at, true, []]);
      const live = [p.primary, p.secondary].filter(vm => vm.running && goesOn(vm));
      expect([at, live.length <= 1]).toEqual([at, true]);
      const [vm] = live;
      ends.add(vm?.name ?? 'none');
      if (store && vm) expect([at, store.history.at(-1)!.owner]).toEqual([at, vm.name]);
      if (vm) p.history.oneMachine(vm.step);
      vm?.checkImages();
      expect([at, p.world.failures]).toEqual([at, []]);
    }
    expect([...ends]).toEqual(expect.arrayContaining(['P', 'S']));
  },
  600_000,
);

/** Its output leaves. */
const goesOn = ({ colo }: Pair['primary']) => colo.info().state === 'completed';
