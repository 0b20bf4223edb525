/**
 * Goal: what an operator can see and do: delay, requests, refusals, aborts, bounds, cancel. Method:
 * the simulated pair without a seed's misfortune.
 */
import { VmError } from '../../src/base/errors.js';
import type { Scenario } from './misfortunes.js';
import { Pair } from './pair.js';
import { ports } from './command-line.js';
import { SimNode } from '../support/sim/node.js';

async function pair(scenario: Partial<Scenario> = {}): Promise<Pair> {
  const p = await Pair.create({ seed: 9, misfortunes: [], ...scenario });
  p.later = () => undefined;
  void p.primary.start();
  await p.secondary.listenForPrimary();
  await p.world.play(p.primary.attachReplicas());
  return p;
}
async function protectedPair(): Promise<Pair> {
  const p = await pair();
  await p.primary.migrate('tcp:s:8888');
  await p.world.run(200);
  expect(p.world.failures).toEqual([]);
  return p;
}
const done = (p: Pair) => p.primary.colo.info().statistics!.done;

it('tells modes and data', async () => {
  const p = await pair();
  expect(p.primary.colo.status()).toEqual({ mode: 'none', 'last-mode': 'none', reason: 'none' });
  await p.primary.migrate('tcp:s:8888');
  expect(p.primary.colo.query().status).toBe('setup');
  await p.world.run(200);
  expect(p.primary.colo.status()).toEqual({
    mode: 'primary',
    'last-mode': 'primary',
    reason: 'none',
  });
  expect(p.secondary.colo.status()).toEqual({
    mode: 'secondary',
    'last-mode': 'secondary',
    reason: 'none',
  });
  expect(p.primary.colo.query()).toMatchObject({
    status: 'colo',
    ramTotalBytes: 16 << 20,
    passes: expect.any(Number),
  });
  expect(p.primary.colo.info().statistics!.percentile('pages', 0.99)).toBeGreaterThan(0);
  await p.secondary.lostHeartbeat();
  await p.world.run(400);
  expect(p.secondary.colo.status()).toEqual({
    mode: 'none',
    'last-mode': 'secondary',
    reason: 'request',
  });
  expect(p.secondary.colo.query().status).toBe('completed');
  expect(p.primary.colo.status()).toMatchObject({ mode: 'none', reason: 'error' });
  expect(p.primary.running).toBe(false);
});

it('x-checkpoint-delay counts from start to start', async () => {
  const p = await protectedPair();
  p.network.latencyMs = [6, 6];
  await p.primary.user.set({ 'x-checkpoint-delay': 50 });
  const before = done(p);
  await p.world.run(p.world.now + 300);
  // Each takes four journeys, 24 ms: from end to start there would be four.
  expect(done(p) - before).toBeGreaterThanOrEqual(5);
  expect(done(p) - before).toBeLessThanOrEqual(7);
});

it('x-checkpoint-delay is live: longer stops, shorter kicks the wait that runs', async () => {
  const p = await protectedPair();
  await p.primary.user.set({ 'x-checkpoint-delay': 10_000 });
  await p.world.run(300);
  const before = done(p);
  await p.world.run(900);
  expect(done(p)).toBe(before);
  await p.primary.user.set({ 'x-checkpoint-delay': 20 });
  await p.world.run(915);
  expect(done(p)).toBe(before + 1);
  expect(() => p.primary.colo.setPace({ checkpointDelayMs: -1 })).toThrow(VmError);
});

it('remembers a request while a checkpoint is in flight', async () => {
  const p = await protectedPair();
  await p.primary.user.set({ 'x-checkpoint-delay': 10_000 });
  await p.world.run(300);
  const before = done(p);
  for (let i = 0; i < 3; i++) p.primary.colo.requestCheckpoint();
  await p.world.run(302);
  for (let i = 0; i < 3; i++) p.primary.colo.requestCheckpoint();
  await p.world.run(400);
  expect(done(p)).toBe(before + 2);
});

it('refuses lost-heartbeat where it makes no sense', async () => {
  const p = await pair();
  const notEnabled = "The feature 'colo' is not enabled";
  await expect(p.primary.lostHeartbeat()).rejects.toThrow(notEnabled);
  await p.primary.migrate('tcp:s:8888');
  while (p.secondary.colo.info().state === 'none') await p.world.run(p.world.now + 0.2);
  await expect(p.primary.lostHeartbeat()).rejects.toThrow(notEnabled);
  await expect(p.secondary.lostHeartbeat()).rejects.toThrow(
    'the secondary holds no complete first state yet: it cannot take over',
  );
  await p.world.run(200);
  await p.secondary.lostHeartbeat();
  await expect(p.secondary.lostHeartbeat()).rejects.toThrow('COLO failover is already actived');
  await p.world.run(400);
  await expect(p.secondary.lostHeartbeat()).rejects.toThrow(notEnabled);
  await expect(p.primary.lostHeartbeat()).rejects.toThrow(
    'the other side goes on: this side cannot take over',
  );
});

it('five aborted checkpoints in a row end COLO; output stays held until lost-heartbeat', async () => {
  const p = await protectedPair();
  p.primary.lifecycle.stopForCheckpoint = async () => {
    throw new VmError('CPU 1 does not stop');
  };
  await p.world.run(500);
  expect(p.primary.colo.info()).toMatchObject({ state: 'lost', mode: 'primary' });
  expect(p.primary.exits).toEqual([expect.stringMatching(/^error 5 checkpoints in a row/)]);
  expect(
    p.world.log.some(l => l.includes('5 checkpoints in a row were given up: CPU 1 does not stop')),
  ).toBe(true);
  expect(p.primary.running).toBe(true);
  // A guest's write waits for no commit that will not come.
  expect(p.primary.replicas).toEqual(['done']);
  const sent = p.history.packets.length;
  await p.world.run(900);
  expect(p.history.packets.length).toBe(sent);
  expect(p.primary.colo.info().heldPackets).toBe(40);
  await p.primary.lostHeartbeat();
  await p.world.run(1000);
  expect(p.history.packets.length).toBeGreaterThan(sent + 40);
  expect(p.primary.colo.info()).toMatchObject({
    state: 'completed',
    mode: 'none',
    heldPackets: 0,
  });
});

it('a stored error of the replica ends COLO at the next checkpoint', async () => {
  const p = await protectedPair();
  p.network.cut(ports.nbd);
  await p.world.run(300);
  expect(p.world.log.some(l => l.includes("COLO_EXIT primary error disk 'colo-disk0': "))).toBe(
    true,
  );
});

it('a machine that differs is refused with a sentence, and may come again when it is equal', async () => {
  const p = await pair();
  const manifest = p.primary.lifecycle.manifest();
  p.primary.lifecycle.manifest = () => ({ ...manifest, ramBytes: 4096 });
  await p.primary.migrate('tcp:s:8888');
  await p.world.run(100);
  expect(p.primary.colo.query()).toMatchObject({
    status: 'failed',
    error: 'the secondary refused: the primary has 4096 bytes of RAM, this secondary 16 MiB',
  });
  expect(p.primary.exits).toEqual([]);
  expect(p.primary.running).toBe(true);
  p.primary.lifecycle.manifest = () => manifest;
  await p.primary.migrate('tcp:s:8888');
  await p.world.run(300);
  expect(p.primary.colo.info().state).toBe('protected');
  await expect(p.primary.migrate('tcp:s:8888')).rejects.toThrow(
    "There's a migration process in progress",
  );
});

it('disks that differ, with nothing that says which is newer, are refused; the user says it', async () => {
  const p = await pair({ different: true });
  await p.primary.migrate('tcp:s:8888');
  await p.world.run(200);
  expect(p.primary.colo.query().error).toMatch(
    /^disk 'colo-disk0' differs from the secondary's in \d+ bytes, and no record tells which/,
  );
  await p.primary.user.set({ 'x-sync-from': 'secondary' });
  await p.primary.migrate('tcp:s:8888');
  await p.world.run(400);
  expect(p.primary.colo.query().error).toContain("the primary's guest has run");
  await p.primary.user.set({ 'x-sync-from': 'primary' });
  await p.primary.migrate('tcp:s:8888');
  await p.world.run(700);
  expect(p.primary.colo.info().state).toBe('protected');
  expect(p.primary.running).toBe(true);
});

it('nobody there: failed, with the reason', async () => {
  const p = await pair();
  p.secondary.colo.dispose();
  const { connected } = p.primary.colo.migrate('tcp:s:8888');
  await p.world.run(50);
  await connected;
  expect(p.primary.colo.query()).toMatchObject({
    status: 'failed',
    error: "Failed to connect to 'S:8888': Connection refused",
  });
});

it('migrate_cancel ends a migration, and does nothing in colo', async () => {
  const p = await pair();
  await p.primary.migrate('tcp:s:8888');
  while (p.primary.colo.query().status !== 'active') await p.world.run(p.world.now + 0.2);
  await p.primary.user.qmp('migrate_cancel');
  await p.world.run(100);
  expect(p.primary.colo.query().status).toBe('cancelled');
  expect(p.secondary.colo.query().status).toBe('failed');
  expect(p.primary.running).toBe(true);
  await p.primary.migrate('tcp:s:8888');
  await p.world.run(300);
  await p.primary.user.qmp('migrate_cancel');
  await p.world.run(400);
  expect(p.primary.colo.info().state).toBe('protected');
});

it('silent strangers do not keep a primary away', async () => {
  const p = await pair();
  const stranger = new SimNode('X', p.world);
  for (let i = 0; i < 8; i++)
    void p.network
      .sockets(stranger)
      .connect({ kind: 'tcp', host: 's', port: 8888 }, { timeoutMs: 1000 });
  await p.world.run(50);
  await p.primary.migrate('tcp:s:8888');
  await p.world.run(300);
  expect(p.primary.colo.info()).toMatchObject({ state: 'protected', mode: 'primary' });
});

it('a secondary that has been in COLO says so to the next primary', async () => {
  const p = await protectedPair();
  await p.primary.lostHeartbeat();
  await p.world.run(400);
  await p.primary.migrate('tcp:s:8888');
  await p.world.run(600);
  expect(p.primary.colo.query()).toMatchObject({
    status: 'failed',
    error: 'the secondary refused: this secondary has been in COLO: start it anew',
  });
});

async function lostPair(): Promise<Pair> {
  const p = await protectedPair();
  p.primary.lifecycle.stopForCheckpoint = async () => {
    throw new VmError('CPU 1 does not stop');
  };
  await p.world.run(500);
  expect([p.primary.colo.info().state, p.secondary.colo.info().state]).toEqual(['lost', 'lost']);
  return p;
}

it(
  'both lost, the connection works: the side that is told to go on tells the other, and a ' +
    'second word is refused',
  async () => {
    const p = await lostPair();
    await p.primary.lostHeartbeat();
    await p.world.run(1000);
    expect(p.primary.colo.info().state).toBe('completed');
    await expect(p.secondary.lostHeartbeat()).rejects.toThrow(
      'the other side goes on: this side cannot take over',
    );
  },
);

it('both lost, the connection works: a secondary that takes over has the primary stop', async () => {
  const p = await lostPair();
  await p.secondary.lostHeartbeat();
  await p.world.run(1000);
  expect([p.secondary.colo.info().state, p.primary.colo.info().state, p.primary.running]).toEqual([
    'completed',
    'yielded',
    false,
  ]);
  await expect(p.primary.lostHeartbeat()).rejects.toThrow(
    'the other side goes on: this side cannot take over',
  );
});
