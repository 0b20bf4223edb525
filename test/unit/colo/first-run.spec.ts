/**
 * Goal: of two hosts that are both started as one side with new images, one runs the guest. Method:
 * both before their first run, at one arbiter that may be away.
 */
import {
  type Arbiter,
  ArbiterAway,
  type Held,
  type SwapResult,
} from '../../../src/arbiter/contract.js';
import type { ArbiterRecord } from '../../../src/arbiter/record.js';
import type { PairRecord } from '../../../src/block/record/pair-record.js';
import type { ColoPorts } from '../../../src/colo/contract.js';
import { FirstRun } from '../../../src/colo/first-run.js';
import { PairIdentity } from '../../../src/colo/identity.js';
import { nodeHost } from '../../../src/host/node/host.js';

const { clock, entropy } = nodeHost();

class Store implements Arbiter {
  readonly name = 'here:';
  keeps: Arbiter['keeps'] = 'shared';
  away = false;
  asked = 0;
  readonly records: ArbiterRecord[] = [];

  async read(): Promise<Held | undefined> {
    this.asked++;
    if (this.away) throw new ArbiterAway("the arbiter 'here:' is away");
    const record = this.records.at(-1);
    return record && { record, version: String(record.term) };
  }

  async compareAndSet(held: Held | undefined, next: ArbiterRecord): Promise<SwapResult> {
    if (held?.record !== this.records.at(-1)) return 'lost';
    this.records.push(next);
    return 'won';
  }

  dispose(): void {}
}

/** A host that is started as side a. */
class SideA {
  label: PairRecord | undefined;
  ending = false;
  readonly told: string[] = [];

  constructor(private readonly arbiter: Store) {}

  start(): Promise<void> {
    const write = async (change: (now: PairRecord | undefined) => PairRecord) =>
      void (this.label = change(this.label));
    const record = { image: 'a.img', value: this.label, problem: undefined, write };
    const images = () => [{ disk: 'd', record: { ...record, value: this.label } }];
    const ports = {
      clock,
      identity: new PairIdentity({ entropy, images }),
      lifecycle: this,
      options: { retryMs: 5 },
      report: (line: string) => this.told.push(line),
    } as unknown as ColoPorts;
    return new FirstRun(ports, { arbiter: this.arbiter, node: 'alpha', peer: 'beta' }).admit();
  }
}

test('two hosts that both say that they are side a: the second does not run, however often', async () => {
  const store = new Store();
  const [first, second] = [new SideA(store), new SideA(store)];
  await first.start();
  expect(store.records).toMatchObject([
    { owner: 'alpha', inStep: false, vm: first.label!.pair, branch: first.label!.branch },
  ]);
  const refused = /^the guest does not run: the arbiter 'here:' holds the record of another VM/;
  await expect(second.start()).rejects.toThrow(refused);
  await expect(second.start()).rejects.toThrow(refused);
  expect(store.records.length).toBe(1);
  await first.start();
});

test('both at once: one runs', async () => {
  const store = new Store();
  const ends = await Promise.allSettled([new SideA(store), new SideA(store)].map(s => s.start()));
  expect(ends.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
});

const soon = () => new Promise(resolve => setTimeout(resolve, 40)).then(() => 'waits');
const away = () => Object.assign(new Store(), { away: true });

test('an arbiter that is away: images that were never in a pair wait for it', async () => {
  const store = away();
  const side = new SideA(store);
  const started = side.start().then(() => 'runs');
  expect(await Promise.race([started, soon()])).toBe('waits');
  expect(side.told).toEqual(["COLO: the arbiter 'here:' is away; it is asked again"]);
  store.away = false;
  expect(await started).toBe('runs');
  side.label = { ...side.label!, generation: 2 };
  store.away = true;
  await side.start();
});

test('a process that ended while it waited asks again', async () => {
  const store = away();
  const [first, second] = [new SideA(store), new SideA(store)];
  const ended = first.start();
  await soon();
  first.ending = true;
  await ended;
  store.away = false;
  await second.start();
  first.ending = false;
  await expect(first.start()).rejects.toThrow(/holds the record of another VM/);
});

test('a pair that came about meanwhile keeps its record', async () => {
  const store = away();
  const side = new SideA(store);
  const started = side.start();
  await soon();
  const pair = { owner: 'alpha', replica: 'beta', inStep: true, term: 1, vm: side.label!.pair };
  store.records.push({ ...pair, branch: side.label!.branch });
  side.label = { ...side.label!, state: 'protected' };
  store.away = false;
  await started;
  expect(store.records).toMatchObject([{ inStep: true }]);
});

test('a fence agent is not asked', async () => {
  const store = new Store();
  store.keeps = 'own';
  await new SideA(store).start();
  expect(store.asked).toBe(0);
});
