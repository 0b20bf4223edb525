/**
 * Goal: the pair's protocol over TCP and Unix sockets of this host. Method: the simulated machines,
 * whose time is moved along with the real.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { NodeSockets } from '../../src/host/node/sockets.js';
import { Pair } from './pair.js';

/**
 * Real milliseconds for each virtual one would tie the spec to the machine's load: time moves when
 * nothing waits in a socket.
 */
async function until(p: Pair, reached: () => boolean): Promise<void> {
  for (let i = 0; i < 4000 && !reached(); i++) {
    await new Promise(resolve => setTimeout(resolve, 1));
    await p.world.run(p.world.now + 1);
  }
  expect(p.world.failures).toEqual([]);
  expect(reached()).toBe(true);
}

const directory = mkdtempSync(join(tmpdir(), 'colo-'));
afterAll(() => rmSync(directory, { recursive: true }));

it.each([
  ['tcp', 'tcp:127.0.0.1:0'],
  ['unix', `unix:${join(directory, 'migrate')}`],
])('checkpoints and a planned failover over %s', async (_kind, listen) => {
  const p = await Pair.create({ seed: 11, misfortunes: [] }, new NodeSockets());
  for (const side of [p.primary, p.secondary])
    Object.assign(side.options, {
      peerTimeoutMs: 5000,
      replyTimeoutMs: 5000,
      leaseMs: 2000,
      leaseMarginMs: 100,
      stopTimeoutMs: 1000,
    });
  p.primary.start();
  const address = await p.secondary.listenForPrimary(listen);
  await p.world.play(p.primary.attachReplicas());
  p.primary.colo.migrate(
    address.kind === 'tcp' ? `tcp:127.0.0.1:${address.port}` : `unix:${address.path}`,
  );
  await until(p, () => (p.primary.colo.info().statistics?.done ?? 0) >= 5);
  p.secondary.colo.lostHeartbeat();
  await until(
    p,
    () =>
      p.secondary.colo.info().state === 'completed' && p.primary.colo.info().state === 'yielded',
  );
  await until(p, () => p.history.packets.at(-1)?.from === 'S');
  p.history.oneMachine(p.secondary.step);
  expect(p.world.failures).toEqual([]);
  p.primary.colo.dispose();
  p.secondary.colo.dispose();
});

it.each([
  ['tcp', 'tcp:127.0.0.1:0'],
  ['unix', `unix:${join(directory, 'closes')}`],
])(
  'a primary that closes over %s: gone at once where the kernel says so, after its lease ' +
    'where a network does',
  async (kind, listen) => {
    const p = await Pair.create({ seed: 12, misfortunes: [] }, new NodeSockets());
    for (const side of [p.primary, p.secondary])
      Object.assign(side.options, {
        peerTimeoutMs: 5000,
        replyTimeoutMs: 5000,
        leaseMs: 2500,
        leaseMarginMs: 200,
        stopTimeoutMs: 2000,
      });
    p.later = () => undefined;
    p.primary.start();
    const address = await p.secondary.listenForPrimary(listen);
    await p.world.play(p.primary.attachReplicas());
    p.primary.colo.migrate(
      address.kind === 'tcp' ? `tcp:127.0.0.1:${address.port}` : `unix:${address.path}`,
    );
    await until(p, () => (p.primary.colo.info().statistics?.done ?? 0) >= 2);
    p.primary.colo.dispose();
    await until(p, () => p.secondary.colo.info().state === 'lost');
    const at = p.world.now;
    p.secondary.colo.lostHeartbeat();
    await until(p, () => p.secondary.colo.info().state === 'completed');
    if (kind === 'unix') expect(p.world.now - at).toBeLessThan(1000);
    else expect(p.world.now - at).toBeGreaterThan(1000);
    p.secondary.colo.dispose();
  },
);
