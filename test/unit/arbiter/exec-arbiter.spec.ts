/**
 * The fence agent as arbiter. Method: the contract of all arbiters with an agent that always
 * succeeds; then agents that write down what they were asked, fail, hang and leave children.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { ArbiterAway } from '../../../src/arbiter/contract.js';
import { ExecArbiter, overtaken } from '../../../src/arbiter/exec-arbiter.js';
import { nodeHost } from '../../../src/host/node/host.js';
import { arbiterContract, arbiterRecord } from '../../support/arbiter-contract.js';

const { clock, entropy, folders, programs } = nodeHost();
let dir: string;
beforeEach(() => (dir = mkdtempSync(join(tmpdir(), 'arbiter-'))));
afterEach(() => rmSync(dir, { recursive: true }));

const open = (command: string, timeoutMs = 10_000) =>
  new ExecArbiter(programs, folders.open(dir), clock, entropy, { command, timeoutMs });

const led = arbiterRecord({ replica: 'beta', inStep: true });
const alone = arbiterRecord({ term: 2 });
const taken = arbiterRecord({ term: 2, owner: 'beta' });

describe('the contract', () => {
  arbiterContract(() => Promise.resolve(() => Promise.resolve(open('true'))));
});

test('who must be off before a record may be so', () => {
  expect(overtaken(led, taken)).toBe('alpha');
  expect(overtaken(led, alone)).toBe('beta');
  expect(overtaken(led, { ...led, term: 2, replica: 'gamma' })).toBe('beta');
  expect(overtaken(led, { ...led, term: 2 })).toBeUndefined();
  expect(overtaken(alone, { ...led, term: 3 })).toBeUndefined();
  const noted = { ...led, term: 2, owner: 'beta', replica: 'alpha' };
  expect(overtaken(alone, noted)).toBeUndefined();
});

test('the agent is told whom to switch off, before the record changes, and only then', async () => {
  const notes = join(dir, 'notes');
  const words = '$COLO_PEER $COLO_NODE $COLO_TERM';
  const agent = `ls ${dir} | grep -c 0 >> ${notes}; echo ${words} >> ${notes}`;
  const arbiter = open(agent);
  await arbiter.compareAndSet(undefined, led);
  expect(existsSync(notes)).toBe(false);
  expect(await arbiter.compareAndSet(await arbiter.read(), taken)).toBe('won');
  expect(readFileSync(notes, 'utf8')).toBe('1\nalpha beta 2\n');
});

test.each([
  ['false', /'beta' is off: 'false' ended with 1/],
  ['echo no power switch >&2; exit 3', /exit 3' ended with 3: no power switch/],
  ['kill -9 $$', /was ended by SIGKILL/],
  ['exit 0 & sleep 30; exit 0', /has not ended within 300 ms/],
])('%s: the peer may live, and the record stays', async (agent, why) => {
  const arbiter = open(agent, 300);
  await arbiter.compareAndSet(undefined, led);
  const change = arbiter.compareAndSet(await arbiter.read(), alone);
  await expect(change).rejects.toThrow(ArbiterAway);
  await expect(change).rejects.toThrow(why);
  expect((await arbiter.read())?.record).toEqual(led);
});

test('what an agent has started is killed with it', async () => {
  const pidFile = join(dir, 'pid');
  const arbiter = open(`sleep 60 & echo $! > ${pidFile}; wait`, 500);
  await arbiter.compareAndSet(undefined, led);
  await expect(arbiter.compareAndSet(await arbiter.read(), alone)).rejects.toThrow(/within 500 ms/);
  const stat = `/proc/${readFileSync(pidFile, 'utf8').trim()}/stat`;
  const lives = () => existsSync(stat) && !/\) Z /.test(readFileSync(stat, 'utf8'));
  for (let n = 0; n < 50 && lives(); n++) await wait(20);
  expect(lives()).toBe(false);
});
