/**
 * Goal: the pair's protocol over TCP and Unix sockets of this host. Method: the simulated machines,
 * whose time is moved along with the real.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { NodeSockets } from '../../src/host/node/sockets.js';
import type { Address, Sockets } from '../../src/host/ports.js';
import { ports } from './command-line.js';
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

const IN_SIMULATION = new Set<number>([ports.nbd, ports.copies]);

/** Migration takes this host's; the disks and what is beside them stay in the simulation. */
function sockets(simulated: Sockets): Sockets {
  const real = new NodeSockets();
  const of = (address: Address) =>
    address.kind === 'tcp' && IN_SIMULATION.has(address.port) ? simulated : real;
  return {
    connect: (address, options) => of(address).connect(address, options),
    listen: (address, onStream) => of(address).listen(address, onStream),
  };
}

const directory = mkdtempSync(join(tmpdir(), 'colo-'));
afterAll(() => rmSync(directory, { recursive: true }));

it.each([
  ['tcp', 'tcp:127.0.0.1:0'],
  ['unix', `unix:${join(directory, 'migrate')}`],
])('checkpoints and a planned failover over %s', async (_kind, listen) => {
  const options = {
    peerTimeoutMs: 5000,
    replyTimeoutMs: 5000,
    leaseMs: 2000,
    leaseMarginMs: 100,
    stopTimeoutMs: 1000,
  };
  const p = await Pair.create({ seed: 11, misfortunes: [] }, { sockets, options });
  void p.primary.start();
  const address = await p.secondary.listenForPrimary(listen);
  await p.world.play(p.primary.attachReplicas());
  await p.primary.migrate(
    address.kind === 'tcp' ? `tcp:127.0.0.1:${address.port}` : `unix:${address.path}`,
  );
  await until(p, () => (p.primary.colo.info().statistics?.done ?? 0) >= 5);
  await p.secondary.lostHeartbeat();
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

/** A tunnel, in a process of its own: what it closes says nothing of who is behind it. */
async function tunnelTo(port: number): Promise<{ port: number; process: ChildProcess }> {
  const script = `
    const net = require('net')
    const tunnel = net.createServer(near => {
      const far = net.connect(${port}, '127.0.0.1')
      near.pipe(far).pipe(near)
      for (const end of [near, far]) end.on('error', () => undefined)
    }).listen(0, '127.0.0.1', () => console.log(tunnel.address().port))`;
  const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  const [line] = (await once(child.stdout, 'data')) as [Buffer];
  return { port: Number(line), process: child };
}

it.each([
  ['tcp', 'tcp:127.0.0.1:0'],
  ['unix', `unix:${join(directory, 'closes')}`],
  ['tunnel', 'tcp:127.0.0.1:0'],
])(
  'a primary that closes over %s: gone at once where the kernel says so, after its lease ' +
    'where a network does',
  async (kind, listen) => {
    const options = {
      peerTimeoutMs: 5000,
      replyTimeoutMs: 5000,
      leaseMs: 2500,
      leaseMarginMs: 200,
      stopTimeoutMs: 2000,
    };
    const p = await Pair.create({ seed: 12, misfortunes: [] }, { sockets, options });
    p.later = () => undefined;
    void p.primary.start();
    const address = await p.secondary.listenForPrimary(listen);
    const tunnel =
      kind === 'tunnel' && address.kind === 'tcp' ? await tunnelTo(address.port) : undefined;
    await p.world.play(p.primary.attachReplicas());
    await p.primary.migrate(
      address.kind === 'tcp'
        ? `tcp:127.0.0.1:${tunnel?.port ?? address.port}`
        : `unix:${address.path}`,
    );
    await until(p, () => (p.primary.colo.info().statistics?.done ?? 0) >= 2);
    p.primary.colo.dispose();
    await until(p, () => p.secondary.colo.info().state === 'lost');
    const at = p.world.now;
    await p.secondary.lostHeartbeat();
    await until(p, () => p.secondary.colo.info().state === 'completed');
    if (kind === 'tunnel') expect(p.world.now - at).toBeGreaterThan(1000);
    else expect(p.world.now - at).toBeLessThan(1000);
    p.secondary.colo.dispose();
    tunnel?.process.kill();
  },
);
