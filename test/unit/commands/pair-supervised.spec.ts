/**
 * Goal: two commands keep a pair: either VM is lost, a person says which side goes on, and all the
 * rest comes by itself, in both directions. Method: the real processes from one definition with a
 * guest of two instructions (skipped by name where the addon is not built). COLO_ROUNDS=20 has the
 * last test lose and swap so many times.
 */
import { addonBuilt, colo } from '../../support/colo-process.js';
import { KeptPair } from '../../support/kept-pair.js';

const withAddon = addonBuilt ? test : test.skip;
const limitMs = 300_000;
const ROUNDS = Number(process.env['COLO_ROUNDS'] ?? 4);
const ARBITER = 'arbiter: "file:DIR"';
let pair: KeptPair;

afterEach(() => pair.dispose());

withAddon(
  'a VM is lost on either side, again and again: one word of a person, and it is a pair again ' +
    '(skipped where the addon is not built)',
  async () => {
    pair = new KeptPair();
    const b = pair.run('b');
    const a = pair.run('a');
    const sides = [
      { name: 'toy-primary', by: a },
      { name: 'toy-secondary', by: b },
    ];
    for (let round = 0; round < 2; round++) {
      const [lost, survivor] = round % 2 === 0 ? sides : [...sides].reverse();
      const { pid } = await pair.until(lost.name, 'primary', lost.by);
      process.kill(pid, 'SIGKILL');
      await survivor.by.until(
        'the loss',
        async () => (await pair.look(survivor.name))?.pair === 'lost',
      );
      await pair.failover(survivor.name);
      await pair.until(survivor.name, 'primary', survivor.by);
      await pair.until(lost.name, 'secondary', lost.by);
    }
    expect(a.err).toContain('the other side has the guest');
    // A secondary that is lost comes back too, and a supervisor finds the VM that it left.
    const gone = new Promise(resolve => b.child.once('exit', resolve));
    b.child.kill('SIGKILL');
    await gone; // its pipes are the VM's too, and stay open
    const found = pair.run('b');
    await found.says('toy-secondary runs already, process');
    const { pid } = await pair.until('toy-secondary', 'secondary', found);
    process.kill(pid, 'SIGKILL');
    await a.until('the loss', async () => (await pair.look('toy-primary'))?.pair === 'lost');
    await pair.failover('toy-primary');
    await pair.until('toy-secondary', 'secondary', found);
    found.child.kill('SIGTERM');
    expect(await found.exited).toBe(0);
    expect(await pair.look('toy-secondary')).toBeUndefined();
    expect((await pair.look('toy-primary'))?.pair).toBe('alone');
  },
  limitMs,
);

withAddon(
  'with an arbiter nobody says a word: the guest goes on, and is protected again (skipped where ' +
    'the addon is not built)',
  async () => {
    pair = new KeptPair([ARBITER]);
    const sides = [
      { name: 'toy-primary', by: pair.run('a') },
      { name: 'toy-secondary', by: pair.run('b') },
    ];
    await pair.until('toy-primary', 'primary', sides[0].by);
    for (let round = 0; round < 4; round++) {
      const [lost, survivor] = round % 2 === 0 ? sides : [...sides].reverse();
      const { pid } = await pair.until(lost.name, 'primary', lost.by);
      process.kill(pid, 'SIGKILL');
      await pair.until(survivor.name, 'primary', survivor.by);
      await pair.until(lost.name, 'secondary', lost.by);
    }
    const { pid } = await pair.until('toy-secondary', 'secondary', sides[1].by);
    process.kill(pid, 'SIGKILL');
    await sides[1].by.until('another', async () => {
      const vm = await pair.look('toy-secondary');
      return vm !== undefined && vm.pid !== pid && vm.pair === 'protected';
    });
    await pair.until('toy-primary', 'primary', sides[0].by);
  },
  limitMs,
);

withAddon(
  'switchover swaps the roles, leave ends the secondary, and nobody says more (skipped where the ' +
    'addon is not built)',
  async () => {
    pair = new KeptPair([ARBITER]);
    const [a, b] = [pair.run('a'), pair.run('b')];
    await pair.until('toy-primary', 'primary', a);
    const early = await colo(['switchover', 'toy-secondary'], { env: pair.env });
    expect([early.code, early.err]).toEqual([
      1,
      expect.stringContaining('this side is the secondary'),
    ]);
    const out = await pair.told('switchover', 'toy-primary');
    expect(out).toContain('the guest of toy-primary is at ');
    expect(out).toContain('this side is started again, as the secondary, by its supervisor');
    await pair.until('toy-secondary', 'primary', b);
    await pair.until('toy-primary', 'secondary', a);
    expect(a.err).toContain('the other side has the guest: it is ended, and another takes its');
    const wrong = await colo(['leave', 'toy-secondary'], { env: pair.env });
    expect([wrong.code, wrong.err]).toEqual([
      1,
      expect.stringContaining('colo switchover toy-secondary'),
    ]);
    expect(await pair.told('leave', 'toy-primary')).toContain('toy-primary has left, and ends');
    expect(await a.exited).toBe(0);
    expect(a.err).toContain('it ended in order');
    const alone = await pair.told('status', 'toy-secondary');
    // It may have been asked already to follow again, while it ended.
    expect(alone).toMatch(/not protected.*(the secondary has left, as it was told|start it anew)/);
    expect(await pair.told('arbiter', `file:${pair.dir}`)).toMatch(
      /owner: toy-secondary\nreplica: none/,
    );
    // It comes back whenever it is started again.
    const back = pair.run('a');
    await pair.until('toy-primary', 'secondary', back);
  },
  limitMs,
);

describe('both hosts were off at once', () => {
  async function bothOff(wait: number) {
    pair = new KeptPair([ARBITER], wait);
    const [a, b] = [pair.run('a'), pair.run('b')];
    await pair.until('toy-primary', 'primary', a);
    await pair.until('toy-secondary', 'secondary', b);
    await pair.bothOff();
  }

  withAddon.each(['a', 'b'] as const)(
    'they come back, %s first, and the owner has the guest (skipped where the addon is not built)',
    async first => {
      await bothOff(60);
      const early = pair.run(first);
      await early.says(first === 'a' ? 'had a secondary, which may have' : 'waits for the primary');
      const late = pair.run(first === 'a' ? 'b' : 'a');
      const [a, b] = first === 'a' ? [early, late] : [late, early];
      await pair.until('toy-primary', 'primary', a);
      await pair.until('toy-secondary', 'secondary', b);
    },
    limitMs,
  );

  withAddon(
    'only the owner comes back: it goes on, and the other one follows it when it comes after all ' +
      '(skipped where the addon is not built)',
    async () => {
      await bothOff(3);
      const a = pair.run('a');
      await a.says("the guest is this side's: it starts anew here");
      await a.until('the guest', async () => (await pair.look('toy-primary'))?.pair === 'alone');
      const b = pair.run('b');
      await pair.until('toy-primary', 'primary', a);
      await pair.until('toy-secondary', 'secondary', b);
    },
    limitMs,
  );

  withAddon(
    'only the replica comes back: it does not start from what may be part of an epoch, and ' +
      'follows the owner when it comes after all (skipped where the addon is not built)',
    async () => {
      await bothOff(3);
      const b = pair.run('b');
      await b.says('the images here may hold part of an epoch');
      expect(await pair.look('toy-secondary')).toMatchObject({
        role: 'secondary',
        pair: 'waiting',
      });
      const a = pair.run('a');
      await pair.until('toy-primary', 'primary', a);
      await pair.until('toy-secondary', 'secondary', b);
    },
    limitMs,
  );
});

withAddon(
  `${ROUNDS} times: a host is lost, or the roles are swapped, and it is a pair again (skipped ` +
    'where the addon is not built)',
  async () => {
    pair = new KeptPair([ARBITER]);
    const sides = [
      { name: 'toy-primary', by: pair.run('a') },
      { name: 'toy-secondary', by: pair.run('b') },
    ];
    let [owner, other] = sides;
    for (let round = 0; round < ROUNDS; round++) {
      const { pid } = await pair.until(owner.name, 'primary', owner.by);
      const { pid: replica } = await pair.until(other.name, 'secondary', other.by);
      const how = ['owner', 'swap', 'replica'][round % 3];
      if (how === 'swap') await pair.told('switchover', owner.name);
      else process.kill(how === 'owner' ? pid : replica, 'SIGKILL');
      if (how !== 'replica') [owner, other] = [other, owner];
      else
        await other.by.until('another', async () => (await pair.look(other.name))?.pid !== replica);
    }
    await pair.until(owner.name, 'primary', owner.by);
    await pair.until(other.name, 'secondary', other.by);
  },
  30_000 * (ROUNDS + 2),
);
