/**
 * Goal: a secondary that leaves costs the primary nothing, and takes nothing over afterwards; until
 * it has left it still does. Method: the simulated pair with an arbiter, whose secondary is told to
 * leave, in reach of the arbiter and not, and struck on the way.
 */
import type { VmError } from '../../src/base/errors.js';
import { ports } from './command-line.js';
import { inStep, states } from './in-step.js';
import type { Pair } from './pair.js';

const leave = (p: Pair) =>
  p.secondary.user.qmp('x-colo-leave').then(
    () => 'left',
    (error: VmError) => error.message,
  );
const after = (p: Pair, ms: number) => p.world.run(p.world.now + ms);

async function expectService(p: Pair): Promise<void> {
  const sent = p.history.packets.length;
  await after(p, 150);
  const vm = p.secondary.running ? p.secondary : p.primary;
  expect(p.history.packets.slice(sent).some(({ from }) => from === vm.name)).toBe(true);
  p.history.oneMachine(vm.step);
  vm.checkImages();
  expect(p.world.failures).toEqual([]);
}

it.each([1, 2, 3, 4])('seed %i: the primary goes on alone, without a stop', async seed => {
  const { p, store } = await inStep(seed, seed !== 4);
  const longest = { ms: 0, at: p.world.now };
  const packets = () => p.history.packets.filter(({ from }) => from === 'P');
  expect(await p.world.play(leave(p))).toBe('left');
  // The record is out of step before the secondary can be gone.
  if (store) expect(store.history.at(-1)).toMatchObject({ owner: 'P', replica: undefined });
  await after(p, 100);
  expect(states(p)).toEqual(['completed', 'yielded']);
  expect(p.primary.colo.info().why).toMatch(
    /^the secondary has left.*it was told.*; this guest goes on without protection$/,
  );
  for (const { at } of packets().filter(({ at }) => at > longest.at)) {
    longest.ms = Math.max(longest.ms, at - longest.at);
    longest.at = at;
  }
  // Held output waits for one checkpoint at most, as ever.
  expect(longest.ms).toBeLessThan(60);
  // No supervisor starts it anew.
  expect(p.secondary.colo.superseded).toBe(false);
  await expectService(p);
  await expect(p.secondary.lostHeartbeat()).rejects.toThrow('the other side goes on');
});

it('an arbiter that is away keeps the pair as it is', async () => {
  const { p, store } = await inStep(5);
  store!.away('P', true);
  expect(await p.world.play(leave(p))).toContain("the arbiter 'sim:' has not answered");
  expect(states(p)).toEqual(['protected', 'protected']);
  await expectService(p);
  // What was asked may have come about: it is confirmed in step anew.
  const { term } = store!.history.at(-1)!;
  store!.away('P', false);
  await after(p, 200);
  expect(store!.history.at(-1)).toMatchObject({ owner: 'P', replica: 'S', inStep: true });
  expect(store!.history.at(-1)!.term).toBeGreaterThan(term);
  p.primary.node.crash(true);
  await after(p, 1500);
  expect(p.secondary.running).toBe(true);
  expect(p.world.failures).toEqual([]);
});

it('the primary does not leave', async () => {
  const { p } = await inStep(6);
  await expect(p.primary.user.qmp('x-colo-leave')).rejects.toThrow(
    'this side has the guest: x-colo-switchover gives it to the other one first',
  );
  await p.world.play(leave(p));
  expect(await leave(p)).toContain('this side follows no primary');
});

it.each(['P crashes', 'S crashes', 'a cut'])(
  '%s while it leaves: one goes on',
  async blow => {
    const ends = new Set<string>();
    for (let n = 0; n < 12; n++) {
      const { p, store } = await inStep(20 + n);
      store!.loseAnswers = 0.2;
      p.world.after(p.world.random.between(0, 25), () => {
        if (blow === 'a cut') return p.network.cut(ports.migration);
        (blow === 'P crashes' ? p.primary : p.secondary).node.crash(true);
      });
      void leave(p);
      await after(p, 2000);
      expect([n, p.world.failures]).toEqual([n, []]);
      const live = [p.primary, p.secondary].filter(
        vm => vm.running && vm.colo.info().state === 'completed',
      );
      expect([n, live.length <= 1]).toEqual([n, true]);
      if (live.length > 0) expect([n, store!.history.at(-1)!.owner]).toEqual([n, live[0].name]);
      ends.add(live[0]?.name ?? 'none');
      if (live.length > 0) p.history.oneMachine(live[0].step);
      expect([n, p.world.failures]).toEqual([n, []]);
    }
    // A primary that dies after the record has said so is the owner: its host comes back.
    if (blow === 'P crashes') expect([...ends].sort()).toEqual(['S', 'none']);
    else expect(ends).not.toContain('none');
  },
  60_000,
);

it('one that ends by itself is out of step in the record before output leaves', async () => {
  const { p, store } = await inStep(7);
  store!.away('P', true);
  void p.secondary.colo.depart('its process was ended in order');
  await after(p, 300);
  expect(p.primary.colo.info().state).toBe('lost');
  store!.away('P', false);
  await after(p, 200);
  expect(store!.history.at(-1)).toMatchObject({ owner: 'P', replica: undefined, inStep: false });
  expect(p.primary.colo.info().why).toContain('the secondary has left: its process was ended');
  await expectService(p);
});
