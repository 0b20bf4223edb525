/**
 * Goal: a supervisor starts what fits, waits longer and longer where that fails, and ends only with
 * its guest. Method: a side whose VMs are lines of a script, in time that does not pass.
 */
import { VmError } from '../../../src/base/errors.js';
import type { PairRecord, PairState } from '../../../src/block/record/pair-record.js';
import { firstRecord } from '../../../src/colo/record.js';
import { parsePair } from '../../../src/commands/pair/read.js';
import type { Role } from '../../../src/commands/options/spec.js';
import { roleFor } from '../../../src/commands/pair/role.js';
import { localSide } from '../../../src/commands/pair/side.js';
import {
  type Ended,
  supervise,
  type StartedVm,
  type SupervisedSide,
} from '../../../src/commands/pair/supervisor.js';
import { type VmLine, vmLine } from '../../../src/commands/survey.js';

const record = (role: PairRecord['role'], state: PairState): PairRecord => ({
  ...firstRecord('8f1c6e0a-5d54-4c3b-9c59-3d2f5d7a1b10', '0'.repeat(32)),
  role,
  state,
});
const line = (role: string, pair: string, superseded = false): VmLine =>
  vmLine('toy', { role, pair, superseded, status: 'running', pid: 7 });

/** What a VM shows at each look; then it ends so. */
interface Life {
  readonly looks: readonly VmLine[];
  readonly code: number | undefined;
}

class Script implements SupervisedSide {
  readonly side = 'a';
  readonly told: string[] = [];
  readonly slept: number[] = [];
  readonly roles: Role[] = [];
  elsewhere = false;
  stopping = false;
  /** So many orders to quit are not obeyed. */
  deaf = 0;
  private now: { looks: VmLine[]; end: () => void } | undefined;

  constructor(
    private readonly lives: Life[],
    private readonly records: (PairRecord | VmError | undefined)[] = [],
    found?: VmLine[],
  ) {
    if (found) this.now = { looks: [...found], end: () => undefined };
  }

  async look(): Promise<VmLine | undefined> {
    const vm = this.now?.looks.shift();
    if (!vm) this.end();
    return vm;
  }

  async record(): Promise<PairRecord | undefined> {
    const next = this.records.shift();
    if (next instanceof VmError) throw next;
    return next;
  }

  async isElsewhere(): Promise<boolean> {
    return this.elsewhere;
  }

  start(role: Role): StartedVm {
    this.roles.push(role);
    const life = this.lives.shift();
    if (!life) throw new Error('one VM more than the script has');
    const ended = new Promise<Ended>(resolve => {
      this.now = { looks: [...life.looks], end: () => resolve({ code: life.code }) };
    });
    return { ended, end: () => (this.told.push('end'), this.end()) };
  }

  async quit(): Promise<void> {
    if (this.deaf-- > 0) throw new VmError('toy does not end');
    this.told.push('quit');
    this.end();
  }

  async sleep(ms: number): Promise<void> {
    this.slept.push(ms);
    await new Promise(resolve => setImmediate(resolve));
  }

  tell(event: Parameters<SupervisedSide['tell']>[0]): void {
    if (event.event !== 'stands') this.told.push(JSON.stringify(event));
  }

  private end(): void {
    this.now?.end();
    this.now = undefined;
  }
}

test('a side begins in its own role, or in that which its image knows', () => {
  expect([roleFor('a', undefined), roleFor('b', undefined)]).toEqual(['primary', 'secondary']);
  const of = (role: PairRecord['role'], state: PairState) => roleFor('a', record(role, state));
  expect([of('primary', 'alone'), of('primary', 'protected')]).toEqual(['primary', 'primary']);
  expect([of('primary', 'yielded'), of('primary', 'copying')]).toEqual(['secondary', 'secondary']);
  expect([of('secondary', 'protected'), of('secondary', 'together')]).toEqual([
    'secondary',
    'secondary',
  ]);
});

test('a VM that fails is started again, later and later; one that ends in order ends all', async () => {
  const failing = { looks: [], code: 1 };
  const host = new Script([
    failing,
    failing,
    failing,
    { looks: [line('alone', 'alone')], code: 0 },
  ]);
  expect(await supervise(host)).toBe(0);
  expect(host.slept.filter(ms => ms >= 1000)).toEqual([1000, 2000, 4000]);
  expect(host.told.at(-1)).toContain('it ended in order');
});

test.each([
  ['primary', 'protected', true, 'secondary'],
  ['primary', 'protected', false, 'primary'],
  ['primary', 'alone', true, 'primary'],
] as const)(
  'a %s that is %s, whose guest the arbiter calls the other side’s: %s; it starts as %s at once',
  async (role, state, elsewhere, starts) => {
    const host = new Script([{ looks: [], code: 0 }], [record(role, state)]);
    host.elsewhere = elsewhere;
    await supervise(host);
    expect(host.roles).toEqual([starts]);
  },
);

test('a mistake in the options is not tried again', async () => {
  const host = new Script([{ looks: [], code: 2 }]);
  expect(await supervise(host)).toBe(2);
});

test('a record that cannot be read is told, and read again', async () => {
  const broken = new VmError('the record is from a newer version');
  const host = new Script([{ looks: [], code: 0 }], [broken, record('secondary', 'protected')]);
  expect(await supervise(host)).toBe(0);
  expect(host.told[0]).toContain('the record is from a newer version');
  expect(host.told[1]).toContain('"role":"secondary"');
});

test('a secondary that had to give way is another process when it follows again', async () => {
  const host = new Script(
    [
      { looks: [line('secondary', 'protected'), line('secondary', 'superseded', true)], code: 0 },
      { looks: [line('secondary', 'waiting', true), line('secondary', 'protected')], code: 0 },
    ],
    [record('secondary', 'protected'), record('secondary', 'yielded')],
  );
  expect(await supervise(host)).toBe(0);
  expect(host.told.filter(text => text === 'quit').length).toBe(1);
  expect(host.told.filter(text => text.includes('"event":"started"')).length).toBe(2);
});

test('who was superseded follows; who waits as a secondary is left alone', async () => {
  const host = new Script(
    [
      { looks: [line('alone', 'held'), line('alone', 'held', true)], code: 0 },
      { looks: [line('secondary', 'waiting', true), line('secondary', 'broken')], code: 0 },
      { looks: [line('secondary', 'protected'), line('secondary', 'ended')], code: 0 },
    ],
    [
      record('primary', 'protected'),
      record('primary', 'yielded'),
      record('primary', 'yielded'), // while it waits it is looked at
      record('secondary', 'copying'),
    ],
  );
  expect(await supervise(host)).toBe(0);
  const roles = host.told.flatMap(text => /"role":"(\w+)","why"/.exec(text)?.[1] ?? []);
  expect(roles).toEqual(['primary', 'secondary', 'secondary']);
  expect(host.told.filter(text => text === 'quit')).toHaveLength(2);
});

test('who is told to end ends its VM, and starts none', async () => {
  const host = new Script([
    { looks: Array<VmLine>(9).fill(line('primary', 'protected')), code: 0 },
  ]);
  const { sleep } = host;
  host.sleep = async ms => {
    await sleep.call(host, ms);
    host.stopping = host.slept.length > 2;
  };
  expect(await supervise(host)).toBe(0);
  expect(host.told.slice(1)).toEqual(['quit', expect.stringContaining('as it was told')]);
  const early = new Script([{ looks: [], code: undefined }]);
  early.look = async () => undefined;
  early.sleep = async () => {
    if (early.stopping) await new Promise(() => undefined);
    early.stopping = true;
  };
  expect(await supervise(early)).toBe(0);
  expect(early.told.slice(1)).toEqual(['end', expect.stringContaining('as it was told')]);
  const idle = new Script([]);
  idle.stopping = true;
  expect(await supervise(idle)).toBe(0);
});

test('a VM that does not end is told again', async () => {
  const stuck = line('secondary', 'broken');
  const host = new Script([
    { looks: [stuck, stuck], code: 0 },
    { looks: [], code: 0 },
  ]);
  host.deaf = 1;
  expect(await supervise(host)).toBe(0);
  expect(host.told.filter(text => /toy does not end/.test(text))).toHaveLength(1);
  expect(host.told).toContain('quit');
});

test('a VM that runs already is found, and another is started when it is gone', async () => {
  const host = new Script(
    [{ looks: [], code: 0 }],
    [],
    [line('primary', 'protected'), line('primary', 'protected')],
  );
  expect(await supervise(host)).toBe(0);
  expect(host.told[0]).toContain('"event":"found"');
  expect(host.told[1]).toContain('its process is gone');
});

test('a host knows its side by its addresses', async () => {
  const pair = parsePair(
    'name: web\nmemory: 64M\nkernel: k\npeer: {migration: "tcp:10.0.0.2:1"}\n' +
      'back: {migration: "tcp:[fd00::1]:1"}\n',
    'web.yaml',
  );
  const file = { path: 'web.yaml', pair };
  const on = (...addresses: string[]) =>
    localSide(file, {
      hostname: 'h',
      isOwn: address => Promise.resolve(addresses.includes(address)),
    });
  expect([await on('127.0.0.1', '10.0.0.2'), await on('fd00::1')]).toEqual(['b', 'a']);
  await expect(on('10.0.0.2', 'fd00::1')).rejects.toThrow('both addresses of this host');
  await expect(on('10.0.0.3')).rejects.toThrow('say --side a or --side b');
});

it('a replica that its arbiter has given the guest is started as the primary', async () => {
  const lives = [
    { looks: [line('secondary', 'waiting'), line('secondary', 'waiting')], code: undefined },
    { looks: [line('primary', 'alone')], code: 0 },
  ];
  const waits = record('secondary', 'protected');
  const host = new Script(lives, [
    waits,
    waits,
    record('primary', 'alone'),
    record('primary', 'alone'),
  ]);
  expect(await supervise(host)).toBe(0);
  const told = host.told.join('\n');
  expect(told).toMatch(/quit\n.*"follows","why":"the arbiter has given this side the guest"/);
  expect(told).toMatch(/"started","role":"primary"/);
});
