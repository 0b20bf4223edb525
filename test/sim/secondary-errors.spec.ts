/**
 * Goal: one error is not the end of the last copy of a guest: a takeover that could not be finished
 * is ordered again, and what is slow or short of space after `vmstate-received` is tried until it
 * goes. Method: the simulated pair with two disks, on a secondary's storage that fails or is slow.
 */
import { type VmError } from '../../src/base/errors.js';
import { ioError } from '../../src/block/contract/io-error.js';
import { Pair } from './pair.js';
import type { SimVm } from './vm.js';

async function protectedPair(): Promise<Pair> {
  const p = await Pair.create({ seed: 9, misfortunes: [], disks: 2, overlays: 'qcow2' });
  p.later = () => undefined;
  void p.primary.start();
  await p.secondary.listenForPrimary();
  await p.world.play(p.primary.protect());
  for (let n = 0; n < 40 && (p.primary.colo.info().statistics?.done ?? 0) < 3; n++)
    await after(p, 20);
  expect(p.world.failures).toEqual([]);
  expect(p.secondary.colo.info().state).toMatch(/protected|loading/);
  return p;
}

const after = (p: Pair, ms: number) => p.world.run(p.world.now + ms);

/** Requests on these files fail. */
function spoil(
  { storage }: SimVm,
  paths: RegExp,
  operations = /pwrite|fdatasync|truncate|punchHole/,
): void {
  const fault = (operation: string, path: string) =>
    operations.test(operation) && paths.test(path) ? 'ENOSPC' : undefined;
  storage.faults = { ...storage.faults, fault };
}

/** What was decided is decided; that the overlays are empty is never heard. */
function noRoomFor(vm: SimVm): () => void {
  return emptyingFails(vm, ioError('ENOSPC', 'No space left on device'));
}

/** Until the way back is taken. */
function emptyingFails({ block }: SimVm, error: VmError): () => void {
  let full = true;
  for (const disk of block.secondaryDisks()) {
    const checkpoint = disk.checkpoint.bind(disk);
    disk.checkpoint = async () => {
      await checkpoint();
      if (full) throw error;
    };
  }
  return () => void (full = false);
}

async function untilState(p: Pair, vm: SimVm, state: string): Promise<void> {
  for (let n = 0; n < 4000 && vm.colo.info().state !== state; n++) await after(p, 0.25);
  expect(vm.colo.info().state).toBe(state);
}

/** The secondary's guest goes on, and the oracle has no objection. */
async function expectTakenOver(p: Pair): Promise<void> {
  await untilState(p, p.secondary, 'completed');
  await after(p, 20);
  expect(p.secondary.running).toBe(true);
  p.secondary.checkImages();
  p.history.oneMachine(p.secondary.step);
  expect(p.world.failures).toEqual([]);
}

it.each([0, 1])(
  'a merge that fails on disk %i leaves a takeover that is ordered again, and says so',
  async n => {
    const p = await protectedPair();
    const { colo } = p.secondary;
    // Part of an epoch is there, which the merge undoes. A sync that fails is final.
    while (p.secondary.block.secondaryDisks()[n].arrived() === 0) await after(p, 0.2);
    p.primary.node.crash(true);
    spoil(p.secondary, new RegExp(`^/s${n}\\.img$`), /pwrite|truncate|punchHole/);
    for (let order = 0; order < 2; order++) {
      colo.lostHeartbeat();
      await untilState(p, p.secondary, 'unfinished');
      expect(colo.info()).toMatchObject({ mode: 'secondary', failover: 'none' });
      expect(colo.info().why).toMatch(
        /disk 'colo-disk\d': .*No space left on device.* x_colo_lost_heartbeat/,
      );
      expect(p.secondary.running).toBe(false);
      // nothing leaves before the image is whole
      expect(p.secondary.holds(0)).toBe(true);
      expect(
        p.world.log.some(line =>
          line.includes('COLO_EXIT secondary error the takeover is not finished'),
        ),
      ).toBe(true);
    }
    p.secondary.storage.calm();
    colo.lostHeartbeat();
    await expectTakenOver(p);
    expect(colo.info().why).toBeUndefined();
  },
);

it('what fails on both disks is told of both', async () => {
  const p = await protectedPair();
  p.primary.node.crash(true);
  spoil(p.secondary, /img$/);
  await p.secondary.lostHeartbeat();
  await untilState(p, p.secondary, 'unfinished');
  const { why } = p.secondary.colo.info();
  for (const disk of [0, 1]) expect(why).toContain(`disk 'colo-disk${disk}': merging into`);
});

it('a merge that takes very long is waited for, and told of', async () => {
  const p = await protectedPair();
  const { colo, storage } = p.secondary;
  p.primary.node.crash(true);
  storage.faults = { ...storage.faults, latencyMs: [3000, 3100] };
  colo.lostHeartbeat();
  await after(p, 6000);
  expect(colo.info()).toMatchObject({
    state: 'active',
    waitsFor: expect.stringMatching(/^disk 'colo-disk\d' to be merged, for \d+ s$/),
  });
  expect(p.world.log.some(line => line.includes("waits for disk 'colo-disk"))).toBe(true);
  storage.calm();
  for (let n = 0; n < 40 && colo.info().state !== 'completed'; n++) await after(p, 500);
  await expectTakenOver(p);
  expect(colo.info().waitsFor).toBeUndefined();
});

it('emptying the overlays is tried until it goes, while the peer waits and the pair lives on', async () => {
  const p = await protectedPair();
  const { primary, secondary } = p;
  const makeRoom = noRoomFor(secondary);
  await after(p, 3000);
  expect(secondary.colo.info().waitsFor).toMatch(
    /^disk 'colo-disk\d': .*No space left on device; it is tried again$/,
  );
  expect(primary.colo.info()).toMatchObject({
    state: 'protected',
    waitsFor: expect.stringMatching(/^the secondary to load the checkpoint, for \d+ s$/),
  });
  makeRoom();
  await after(p, 2500);
  expect([primary.colo.info().state, secondary.colo.info().waitsFor]).toEqual([
    'protected',
    undefined,
  ]);
  const before = primary.colo.info().statistics!.done;
  await after(p, 200);
  expect(primary.colo.info().statistics!.done).toBeGreaterThan(before + 2);
  expect(p.world.failures).toEqual([]);
});

it('an overlay whose file gives nothing but errors is given up: the primary goes on alone', async () => {
  const p = await protectedPair();
  emptyingFails(p.secondary, ioError('EIO', 'Input/output error'));
  await untilState(p, p.secondary, 'broken');
  await untilState(p, p.primary, 'completed');
  expect(p.secondary.exits.at(-1)).toMatch(/overlays of disk 'colo-disk\d' cannot be emptied/);
  expect(p.primary.running).toBe(true);
  expect(p.world.failures).toEqual([]);
});

it('a failover does not wait for overlays that cannot be emptied: what they hold is void', async () => {
  const p = await protectedPair();
  noRoomFor(p.secondary);
  await after(p, 100);
  expect(p.secondary.colo.info().state).toBe('loading');
  p.primary.node.crash(true);
  await p.secondary.lostHeartbeat();
  await expectTakenOver(p);
});

it.each([20, 450, 5000])(
  'a secondary that is stopped for %d ms while it empties its overlays goes on',
  async ms => {
    const p = await protectedPair();
    const { secondary } = p;
    await untilState(p, secondary, 'loading');
    secondary.node.pause(ms);
    await after(p, ms + 100);
    expect(secondary.colo.info().state).toMatch(ms < 200 ? /protected|loading/ : /lost/);
    p.primary.node.crash(true);
    await secondary.lostHeartbeat();
    await expectTakenOver(p);
  },
);
