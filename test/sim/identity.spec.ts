/**
 * Goal: what is durable at the images says at every moment who may go on, and a process that is
 * started again acts on it. Method: the simulated pair with two disks; the records are read from
 * the simulated media at the named steps.
 */
import type { ReplicationPrimary } from '../../src/block/drivers/replication/primary.js';
import {
  decodePairRecord,
  encodePairRecord,
  type PairRecord,
} from '../../src/block/record/pair-record.js';
import type { ColoStep } from '../../src/colo/steps.js';
import { SimNode } from '../support/sim/node.js';
import { Pair } from './pair.js';
import { SimVm } from './vm.js';

async function attached(): Promise<Pair> {
  const p = await Pair.create({ seed: 9, misfortunes: [], disks: 2 });
  p.later = () => undefined;
  void p.primary.start();
  await p.secondary.listenForPrimary();
  await p.world.play(p.primary.attachReplicas());
  return p;
}

const recordsOf = (vm: SimVm): (PairRecord | undefined)[] =>
  vm.images.map(path => {
    const { label } = vm.storage.inodes.get(path)!;
    return label && decodePairRecord(label);
  });
const said = (vm: SimVm) =>
  recordsOf(vm).map(r => (r ? `${r.role} ${r.state} ${r.generation}` : 'none'));

/** What both sides' media say when a step is passed for the first time. */
function watch(p: Pair): Map<ColoStep, { P: string[]; S: string[] }> {
  const seen = new Map<ColoStep, { P: string[]; S: string[] }>();
  p.onStepOf = step => {
    if (!seen.has(step)) seen.set(step, { P: said(p.primary), S: said(p.secondary) });
  };
  return seen;
}
const twice = (text: string) => [text, text];

it('into COLO, and a takeover: each state is on the medium before what depends on it', async () => {
  const p = await attached();
  const seen = watch(p);
  await p.primary.migrate('tcp:s:8888');
  await p.world.run(300);
  expect(seen.get('secondary-sent-checkpoint-ready')).toEqual({
    P: twice('primary alone 1'),
    S: twice('secondary copying 1'),
  });
  expect(seen.get('primary-offered')!.P).toEqual(twice('primary protected 1'));
  expect(said(p.secondary)).toEqual(twice('secondary protected 1'));
  await p.secondary.lostHeartbeat();
  await p.world.run(800);
  expect(seen.get('takeover-network-open')!.S).toEqual(twice('primary alone 2'));
  expect(said(p.primary)).toEqual(twice('primary yielded 1'));
  expect(recordsOf(p.secondary).map(r => r!.partial)).toEqual([false, false]);
});

it('a primary that goes on alone is on a branch of its own before its output leaves', async () => {
  const p = await attached();
  const seen = watch(p);
  await p.primary.migrate('tcp:s:8888');
  await p.world.run(300);
  p.secondary.node.crash(true);
  await p.world.run(600);
  await p.primary.lostHeartbeat();
  await p.world.run(1200);
  expect(seen.get('primary-recorded')!.P).toEqual(twice('primary alone 2'));
  expect(p.primary.colo.info().state).toBe('completed');
});

it('a record that cannot be written keeps the output in, and the order may be given again', async () => {
  const p = await attached();
  await p.primary.migrate('tcp:s:8888');
  await p.world.run(300);
  p.secondary.node.crash(true);
  await p.world.run(600);
  const { faults } = p.primary.storage;
  const fault = (operation: string) => (operation === 'write-label' ? 'ENOSPC' : undefined);
  p.primary.storage.faults = { ...faults, fault };
  await p.primary.lostHeartbeat();
  await p.world.run(900);
  expect([p.primary.colo.info().state, said(p.primary)]).toEqual([
    'lost',
    twice('primary protected 1'),
  ]);
  expect(p.primary.colo.info().heldPackets).toBeGreaterThan(0);
  p.primary.storage.calm();
  await p.primary.lostHeartbeat();
  await p.world.run(1200);
  expect([p.primary.colo.info().state, said(p.primary)]).toEqual([
    'completed',
    twice('primary alone 2'),
  ]);
});

it('a secondary that cannot write its record says so, once, until it can', async () => {
  const p = await attached();
  await p.primary.migrate('tcp:s:8888');
  const { storage } = p.secondary;
  let failing = false;
  p.onStepOf = step => {
    if (failing || step !== 'secondary-committed') return;
    failing = true;
    const fault = (operation: string) => (operation === 'write-label' ? 'ENOSPC' : undefined);
    storage.faults = { ...storage.faults, fault };
  };
  await p.world.run(300);
  const told = () => p.world.log.filter(line => line.includes("the images do not say 'protected'"));
  expect([told().length, said(p.secondary)]).toEqual([1, twice('secondary copying 1')]);
  expect(p.secondary.colo.info()).toMatchObject({
    pair: 'protected',
    waitsFor: expect.stringMatching(/^the images do not say 'protected': .*No space left/),
  });
  storage.calm();
  await p.world.run(500);
  expect([told().length, said(p.secondary)]).toEqual([1, twice('secondary protected 1')]);
  expect(p.secondary.colo.info().waitsFor).toBeUndefined();
});

it('both end together: both say so', async () => {
  const p = await attached();
  await p.primary.migrate('tcp:s:8888');
  await p.world.run(300);
  p.primary.lifecycle.requestShutdown();
  await p.world.run(900);
  expect([said(p.primary), said(p.secondary)]).toEqual([
    twice('primary together 1'),
    twice('secondary together 1'),
  ]);
});

async function rebuilt(p: Pair): Promise<SimVm> {
  const { node, shape } = p.primary;
  if (!node.dead) node.crash(true);
  const fresh = new SimNode(node.name, p.world, node.host);
  return p.world.play(
    SimVm.build(
      { node: fresh, network: p.network, history: p.history, onStep: () => undefined },
      'primary',
      shape,
    ),
  );
}

it('an old primary that is started again hears who runs the guest, and does not', async () => {
  const p = await attached();
  await p.primary.migrate('tcp:s:8888');
  await p.world.run(300);
  p.primary.node.crash(true);
  await p.world.run(600);
  await p.secondary.lostHeartbeat();
  await p.world.run(1000);
  const again = await rebuilt(p);
  await expect(p.world.play(again.lifecycle.cont())).rejects.toThrow(
    'had a secondary, which may have taken it over',
  );
  await again.migrate('tcp:s:8888');
  await p.world.run(1200);
  expect(again.colo.query()).toMatchObject({
    status: 'failed',
    lasting: true,
    error: 'the secondary has taken over and runs this guest, generation 2: it does not run here',
  });
  expect(said(again)).toEqual(twice('primary yielded 1'));
  await expect(p.world.play(again.colo.askPeer('tcp:s:8888', 100))).rejects.toThrow(
    'has taken over',
  );
  expect([again.lifecycle.running, p.secondary.running]).toEqual([false, true]);
  // By order it goes on all the same.
  await p.world.play(again.colo.runByOrder());
  expect([again.lifecycle.running, said(again)]).toEqual([true, twice('primary alone 2')]);
});

it('a vouch of the primary does not beat the mark of the secondary', async () => {
  const p = await attached();
  await p.primary.migrate('tcp:s:8888');
  await p.world.run(300);
  p.secondary.node.crash(true);
  await p.world.run(600);
  expect(recordsOf(p.secondary).map(r => r!.partial)).toEqual([true, true]);
  const q = await attached();
  for (const path of q.secondary.images) {
    const inode = q.secondary.storage.inodes.get(path)!;
    inode.label = encodePairRecord(recordsOf(p.secondary)[0]!);
  }
  const fresh = new SimNode('S', q.world, q.secondary.node.host);
  q.secondary.node.crash(true);
  const secondary = await q.world.play(
    SimVm.build(
      { node: fresh, network: q.network, history: q.history, onStep: () => undefined },
      'secondary',
      q.secondary.shape,
    ),
  );
  await secondary.listenForPrimary();
  for (const n of q.primary.images.keys()) {
    const { driver } = q.primary.block.graph.node(`replica${n}`);
    Object.assign((driver as ReplicationPrimary).options, { assumeInSync: true });
  }
  await q.primary.migrate('tcp:s:8888');
  await q.world.run(q.world.now + 300);
  expect(q.primary.colo.query().error).toContain(
    "x-assume-in-sync cannot be right: the secondary's image is half copied",
  );
});
