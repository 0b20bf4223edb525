/**
 * Goal: a side that ends in order, is broken, or has lost its vCPU says so, and the other one does
 * what is safe at once; and what only looks like an end is not taken for one. Method: the simulated
 * pair, with a word or a failure of one side, and the oracle over both.
 */
import { VmError } from '../../src/base/errors.js';
import { Pair } from './pair.js';
import { ports } from './command-line.js';
import type { SimVm } from './vm.js';

async function protectedPair(): Promise<Pair> {
  const p = await Pair.create({ seed: 11, misfortunes: [] });
  p.later = () => undefined;
  void p.primary.start();
  await p.secondary.listenForPrimary();
  await p.world.play(p.primary.protect());
  await after(p, 200);
  expect(p.world.failures).toEqual([]);
  return p;
}

const after = (p: Pair, ms: number) => p.world.run(p.world.now + ms);
const exitText = (p: Pair, vm: SimVm) =>
  p.world.log.filter(line => line.includes(`${vm.name} COLO_EXIT`)).at(-1);

/** It runs, its frames leave, and its client has seen one machine. */
async function expectService(p: Pair, vm: SimVm): Promise<void> {
  const sent = p.history.packets.length;
  await after(p, 100);
  expect(vm.colo.info()).toMatchObject({ state: 'completed', mode: 'none', heldPackets: 0 });
  expect(p.history.packets.slice(sent).some(packet => packet.from === vm.name)).toBe(true);
  p.history.oneMachine(vm.step);
  vm.checkImages();
  expect(p.world.failures).toEqual([]);
}

it('a secondary that is ended leaves the primary alone at once, and can never take over', async () => {
  const p = await protectedPair();
  void p.secondary.colo.depart('its process was ended in order');
  await after(p, 25);
  expect(p.primary.colo.info().state).toBe('completed');
  expect(exitText(p, p.primary)).toContain(
    'error the secondary has left: its process was ended in order; this guest goes on without ' +
      'protection',
  );
  await expect(p.secondary.lostHeartbeat()).rejects.toThrow('the other side goes on');
  await expectService(p, p.primary);
});

it('so does one that is broken', async () => {
  const p = await protectedPair();
  const { lifecycle } = p.secondary;
  const parse = lifecycle.parseDevices.bind(lifecycle);
  lifecycle.parseDevices = blob => {
    parse(blob);
    const fail = () => {
      throw new VmError('KVM_SET_LAPIC: Invalid argument');
    };
    return { apply: fail };
  };
  await after(p, 60);
  expect(p.secondary.colo.info().state).toBe('broken');
  expect(exitText(p, p.primary)).toContain('the secondary has left: loading epoch');
  await expectService(p, p.primary);
});

it('so does one that is ended while the primary waits for a person', async () => {
  const p = await protectedPair();
  await p.primary.user.qmp('yank', { instances: [{ type: 'migration' }] });
  await after(p, 300);
  expect([p.primary.colo.info().state, p.secondary.colo.info().state]).toEqual(['lost', 'lost']);
  void p.secondary.colo.depart('its process was ended in order');
  await after(p, 25);
  await expectService(p, p.primary);
});

it('so does one that is ended while it waits for room on its disk', async () => {
  const p = await protectedPair();
  p.secondary.block.secondaryDisks()[0].checkpoint = () =>
    Promise.reject(new VmError('No space left on device'));
  await after(p, 100);
  expect(p.secondary.colo.info().state).toBe('loading');
  void p.secondary.colo.depart('its process was ended in order');
  await after(p, 25);
  expect(p.secondary.colo.info().state).toBe('yielded');
  await expectService(p, p.primary);
});

it(
  'a primary that is ended is told from a crash: the secondary waits, knows why, and opens at ' +
    'once when it is told to',
  async () => {
    const p = await protectedPair();
    void p.primary.colo.depart('quit');
    await after(p, 1);
    const sent = p.history.packets.length;
    await after(p, 500);
    expect(p.secondary.colo.info()).toMatchObject({
      state: 'lost',
      why: 'the primary was ended on purpose, and the guest with it: quit',
    });
    expect(p.history.packets.length).toBe(sent);
    await expect(p.primary.lostHeartbeat()).rejects.toThrow('the other side goes on');
    await p.secondary.lostHeartbeat();
    await after(p, 5);
    expect(p.history.takeoverAt).toBeDefined();
    await expectService(p, p.secondary);
  },
);

it('a vCPU that fails ends COLO and is not copied: the secondary keeps what was before it', async () => {
  const p = await protectedPair();
  const before = p.secondary.loadedSerial;
  p.primary.cpuFails('no such instruction');
  await after(p, 60);
  expect(p.primary.colo.info()).toMatchObject({
    state: 'lost',
    why: 'the vCPU failed: no such instruction',
  });
  expect(p.primary.lifecycle.state).toBe('internal-error');
  expect(p.secondary.colo.info()).toMatchObject({
    state: 'lost',
    why: expect.stringContaining('the vCPU failed: no such instruction'),
  });
  expect(p.secondary.loadedSerial - before).toBeLessThan(2);
  await p.secondary.lostHeartbeat();
  await after(p, 60);
  await expectService(p, p.secondary);
});

it.each(['ECONNRESET', 'ETIMEDOUT'] as const)(
  '%s at the secondary is no proof that the primary is dead: its lease is waited for',
  async code => {
    const p = await protectedPair();
    p.network.block(300);
    p.primary.taps.forEach(tap => (tap.full = true));
    p.network.breakEnd({ from: 'S', port: ports.migration }, code);
    await after(p, 0.1);
    await p.secondary.lostHeartbeat();
    await after(p, 25);
    p.primary.taps.forEach(tap => (tap.full = false));
    await after(p, 20);
    expect(p.history.takeoverAt).toBeUndefined();
    await after(p, 100);
    expect(p.history.takeoverAt).toBeDefined();
    expect(p.world.failures).toEqual([]);
    await expectService(p, p.secondary);
  },
);

it.each([-20, -5, 0, 5, 20])(
  'both sides are told within a silence, %d ms apart: one goes on',
  async lag => {
    const p = await protectedPair();
    p.network.block(60);
    const tell = (vm: SimVm) => vm.colo.lostHeartbeat();
    p.world.after(10, () => tell(lag < 0 ? p.secondary : p.primary));
    p.world.after(10 + Math.abs(lag), () => tell(lag < 0 ? p.primary : p.secondary));
    await after(p, 400);
    const states = [p.primary.colo.info().state, p.secondary.colo.info().state];
    expect(states).toContain('completed');
    expect(states.filter(state => state === 'completed')).toHaveLength(1);
    await expectService(p, states[0] === 'completed' ? p.primary : p.secondary);
  },
);

it(
  'a primary that is told to go on does not, if the secondary closes without an answer; a ' +
    'second word settles it',
  async () => {
    const p = await protectedPair();
    p.secondary.node.pause(1000);
    await after(p, 5);
    await p.primary.lostHeartbeat();
    await after(p, 10);
    p.secondary.node.crash(true);
    await after(p, 30);
    expect(p.primary.colo.info()).toMatchObject({
      state: 'lost',
      why: expect.stringContaining('may have taken over'),
    });
    await p.primary.lostHeartbeat();
    await after(p, 30);
    await expectService(p, p.primary);
  },
);

it.each([
  'takeover-fenced',
  'takeover-exports-dropped',
  'takeover-disk-merged',
  'takeover-recorded',
] as const)('a takeover is given up when its process is told to end at %s', async at => {
  const p = await protectedPair();
  p.onStepOf = step => {
    if (step !== at) return;
    p.secondary.lifecycle.beginEnd();
    void p.secondary.colo.depart('its process was ended in order');
  };
  p.primary.node.crash(true);
  await p.secondary.lostHeartbeat();
  await after(p, 200);
  expect([p.history.takeoverAt, p.secondary.running]).toEqual([undefined, false]);
  const text = 'the takeover is not finished: this VM is being ended';
  expect(p.secondary.colo.info()).toMatchObject({ state: 'unfinished', why: text });
  await expect(p.secondary.lostHeartbeat()).rejects.toThrow('this VM is being ended');
  expect(p.world.failures).toEqual([]);
});
