/**
 * Goal: each action of the agent gives the exit code that a cluster counts on, in both roles, and
 * no guest is started that another side may have gone on with. Method: a side and a cluster that
 * are scripts.
 */
import { VmError } from '../../../src/base/errors.js';
import type { PairRecord, PairState } from '../../../src/block/record/pair-record.js';
import { firstRecord } from '../../../src/colo/record.js';
import {
  Agent,
  type ClusterPort,
  type LocalSide,
  Ocf,
  type PeerStands,
  type Request,
  scoreOf,
} from '../../../src/commands/ocf/agent.js';
import { peerIn } from '../../../src/commands/ocf/pacemaker.js';
import { type VmLine, vmLine } from '../../../src/commands/survey.js';

const record = (role: PairRecord['role'], state: PairState): PairRecord => ({
  ...firstRecord('8f1c6e0a-5d54-4c3b-9c59-3d2f5d7a1b10', '0'.repeat(32)),
  role,
  state,
});
const line = (role: string, pair: string, status = 'running'): VmLine =>
  vmLine('toy', { role, pair, status, pid: 7 });
const waiting = line('secondary', 'waiting', 'inmigrate');
const follower = line('secondary', 'protected', 'inmigrate');
const orphan = line('secondary', 'lost', 'inmigrate');
const primary = line('primary', 'protected');
const bereft = line('primary', 'lost');
const silent = line('primary', 'protected', 'not answering');

class Bench implements LocalSide, ClusterPort, Request {
  readonly did: string[] = [];
  side: 'a' | 'b' = 'a';
  image: PairRecord | VmError | undefined;
  stands: PeerStands = 'gone';
  promoted = false;
  notice: Request['notice'];
  foreign = false;
  /** What a start, or going on, comes to. */
  becomes: Record<string, VmLine | undefined> = {
    primary: line('alone', 'alone'),
    secondary: waiting,
    goOn: line('alone', 'alone'),
  };
  patience = 20;

  constructor(public vm: VmLine | undefined) {}

  look = async () => this.vm;
  async record() {
    if (this.image instanceof VmError) throw this.image;
    return this.image;
  }
  owns = () => !this.foreign;
  async start(role: string) {
    this.did.push(`start ${role}`);
    this.vm = this.becomes[role];
  }
  async quit() {
    this.did.push('quit');
    this.vm = undefined;
  }
  async kill() {
    if (!this.vm) return;
    this.did.push('kill');
    this.vm = undefined;
  }
  async goOn() {
    this.did.push('goes on');
    this.vm = this.becomes['goOn'];
  }
  score = async (value: number | undefined) => void this.did.push(`score ${value ?? 'none'}`);
  peer = async () => this.stands;
  failPeer = async () => void this.did.push('fails the peer');
  mayWait = () => this.patience-- > 0;
  sleep = async () => undefined;
  note = () => undefined;

  agent = () => new Agent(this, this, this);
}

const bench = (vm: VmLine | undefined, given: Partial<Bench> = {}) =>
  Object.assign(new Bench(vm), given);

describe('monitor', () => {
  test.each([
    ['nothing', undefined, Ocf.NOT_RUNNING, 'score 10'],
    ['a secondary that waits', waiting, Ocf.SUCCESS, 'score 10'],
    ['one in step', follower, Ocf.SUCCESS, 'score 50'],
    ['one whose primary is lost', orphan, Ocf.SUCCESS, 'score 50'],
    ['a primary', primary, Ocf.RUNNING_PROMOTED, 'score 100'],
    ['a guest that is alone', line('alone', 'alone'), Ocf.RUNNING_PROMOTED, 'score 100'],
    ['one that may not run', line('alone', 'held', 'prelaunch'), Ocf.SUCCESS, 'score 10'],
    ['one that does not answer', silent, Ocf.ERR_GENERIC, 'score 10'],
    ['a state that is not whole', line('secondary', 'broken'), Ocf.ERR_GENERIC, 'score 10'],
  ])('%s', async (_, vm, code, score) => {
    const side = bench(vm);
    expect(await side.agent().monitor()).toBe(code);
    expect(side.did).toEqual([score]);
  });

  test.each([
    silent,
    line('alone', 'superseded', 'paused'),
    line('alone', 'alone', 'internal-error'),
  ])('a promoted one that has failed: %#', async vm => {
    expect(await bench(vm, { promoted: true }).agent().monitor()).toBe(Ocf.FAILED_PROMOTED);
  });

  test.each([
    ['gone' as const, 'goes on'],
    ['there' as const, 'fails the peer'],
    ['unknown' as const, undefined],
  ])('a primary without its secondary, which is %s', async (stands, deed) => {
    const side = bench(bereft, { stands });
    expect(await side.agent().monitor()).toBe(Ocf.RUNNING_PROMOTED);
    expect(side.did.slice(1)).toEqual(deed === undefined ? [] : [deed]);
  });
});

test('start: a secondary, and never beside a VM of somebody else', async () => {
  const side = bench(undefined);
  expect(await side.agent().start()).toBe(Ocf.SUCCESS);
  expect(side.did).toEqual(['start secondary', 'score 10']);
  expect(await side.agent().start()).toBe(Ocf.SUCCESS);
  expect(side.did.slice(2)).toEqual(['score 10']);
  side.foreign = true;
  await expect(side.agent().start()).rejects.toThrow('toy runs already: secondary, waiting');
  await expect(bench(primary).agent().start()).rejects.toThrow('toy runs already');
});

test('stop: in order, or else by force; of nothing it succeeds', async () => {
  expect(await bench(undefined).agent().stop()).toBe(Ocf.SUCCESS);
  const orderly = bench(primary);
  expect(await orderly.agent().stop()).toBe(Ocf.SUCCESS);
  expect(orderly.did).toEqual(['score none', 'quit']);
  const hung = bench(silent);
  expect(await hung.agent().stop()).toBe(Ocf.SUCCESS);
  expect(hung.did).toEqual(['score none', 'kill']);
  const immortal = bench(silent, { kill: async () => undefined });
  await expect(immortal.agent().stop()).rejects.toThrow('toy does not end');
});

describe('promote', () => {
  test.each([follower, orphan])('a secondary with a state goes on: %#', async vm => {
    const side = bench(vm);
    expect(await side.agent().promote()).toBe(Ocf.SUCCESS);
    expect(side.did).toEqual(['goes on', 'score 100']);
  });

  test('who has the guest has it; who has no VM, or a failed one, does not get it', async () => {
    expect(await bench(primary).agent().promote()).toBe(Ocf.SUCCESS);
    expect(await bench(undefined).agent().promote()).toBe(Ocf.NOT_RUNNING);
    await expect(bench(silent).agent().promote()).rejects.toThrow('it cannot be promoted');
  });

  test('from its disk: only a side that had the guest', async () => {
    const first = bench(waiting);
    expect(await first.agent().promote()).toBe(Ocf.SUCCESS);
    expect(first.did).toEqual(['quit', 'start primary', 'score 100']);
    const refused: [Bench['side'], Bench['image']][] = [
      ['b', undefined],
      ['b', record('secondary', 'protected')],
      ['a', record('primary', 'copying')],
      ['a', record('primary', 'yielded')],
    ];
    for (const [side, image] of refused) {
      const other = bench(waiting, { side, image });
      await expect(other.agent().promote()).rejects.toThrow(
        'its images do not say that this side had the guest',
      );
      expect(other.did).toEqual([]);
    }
  });

  test('a guest that its record holds back is not promoted: a person decides', async () => {
    const held = line('alone', 'held', 'prelaunch');
    const image = record('primary', 'protected');
    const side = bench(waiting, { image, becomes: { primary: held } });
    await expect(side.agent().promote()).rejects.toThrow('the guest does not run: prelaunch, held');
    expect(side.did.slice(0, 2)).toEqual(['quit', 'start primary']);
  });
});

test('demote: the VM ends, and waits as a secondary', async () => {
  const side = bench(primary, { image: record('primary', 'protected') });
  expect(await side.agent().demote()).toBe(Ocf.SUCCESS);
  expect(side.did).toEqual(['quit', 'start secondary', 'score 5']);
  expect(await bench(undefined).agent().demote()).toBe(Ocf.NOT_RUNNING);
  const below = bench(follower);
  expect(await below.agent().demote()).toBe(Ocf.SUCCESS);
  expect(below.did).toEqual(['score 50']);
});

test('notify: a primary goes on once the cluster has stopped its secondary', async () => {
  const stopped = { type: 'post', operation: 'stop' };
  const side = bench(bereft, { notice: stopped });
  expect(await side.agent().notify()).toBe(Ocf.SUCCESS);
  expect(side.did).toEqual(['goes on', 'score 100']);
  // It has not noticed yet; then it has.
  const slow = bench(primary, { notice: stopped });
  slow.sleep = async () => void (slow.vm = bereft);
  await slow.agent().notify();
  expect(slow.did[0]).toBe('goes on');
  // Another instance was stopped, or nothing was.
  for (const notice of [stopped, { type: 'post', operation: 'start' }]) {
    const other = bench(primary, { notice });
    expect(await other.agent().notify()).toBe(Ocf.SUCCESS);
    expect(other.did).toEqual(['score 100']);
  }
  expect(
    await bench(bereft, { notice: { type: 'pre', operation: 'stop' } })
      .agent()
      .notify(),
  ).toBe(0);
});

test('an image that cannot be read, or a cluster that does not answer, ends nothing', async () => {
  const side = bench(follower, { image: new VmError('no such record') });
  expect(await side.agent().monitor()).toBe(Ocf.SUCCESS);
  expect(side.did).toEqual(['score none']);
  side.score = () => Promise.reject(new VmError('no cluster'));
  expect(await side.agent().monitor()).toBe(Ocf.SUCCESS);
});

test('of images alone the newest is next', () => {
  const score = (side: 'a' | 'b', image: PairRecord | undefined) =>
    scoreOf('waiting', side, image) ?? 0;
  expect([
    score('b', record('primary', 'alone')),
    score('b', record('primary', 'together')),
    score('a', undefined),
    score('b', record('primary', 'protected')),
    score('b', undefined),
  ]).toEqual([80, 30, 10, 5, 0]);
  for (const state of ['protected', 'together', 'copying', 'yielded'] as const)
    expect(score('a', record('secondary', state))).toBe(0);
});

describe('what crm_mon says of the other side', () => {
  const view = (quorum: boolean, beta: string, instances: string) =>
    peerIn(
      `<r><summary><current_dc present="true" with_quorum="${quorum}"/></summary><nodes>` +
        `<node name="alpha" unclean="false"/><node name="beta" unclean="false" ${beta}/></nodes>` +
        `<resources><clone id="c">${instances}</clone></resources></r>`,
      'toy',
      'alpha',
    );
  const at = (node: string, active = true, id = 'toy') =>
    `<resource id="${id}" active="${active}"><node name="${node}" id="2"/></resource>`;

  test.each([
    [{ peer: 'there', at: 'beta' }, true, '', at('alpha') + at('beta')],
    [
      { peer: 'there', at: 'beta' },
      true,
      '',
      at('alpha', true, 'toy:0') + at('beta', true, 'toy:1'),
    ],
    [
      { peer: 'gone', at: undefined },
      true,
      '',
      at('alpha') + '<resource id="toy" active="false"/>',
    ],
    [{ peer: 'gone', at: undefined }, true, '', at('alpha') + at('beta', true, 'other')],
    [{ peer: 'unknown', at: 'beta' }, false, '', at('alpha') + at('beta')],
    [{ peer: 'unknown', at: undefined }, false, '', at('alpha')],
  ])('%o', (expected, quorum, beta, instances) => {
    expect(view(quorum, beta, instances)).toEqual(expected);
  });

  test('a node that is not yet fenced, and no answer at all, are unknown', () => {
    const unclean =
      '<current_dc with_quorum="true"/><node name="beta" unclean="true"/><resource id="toy" ' +
      'active="false"/>';
    expect(peerIn(unclean, 'toy', 'alpha')).toEqual({ peer: 'unknown', at: undefined });
    expect(peerIn('', 'toy', 'alpha')).toEqual({ peer: 'unknown', at: undefined });
  });
});
