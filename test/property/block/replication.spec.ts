/**
 * Goal: whatever the interleaving of guest writes, discards, cuts, commits and aborts, a failover
 * at any point gives the content of the last committed checkpoint plus the secondary guest's own
 * writes. Method: the real pair over NBD in memory, every file request delayed and every stream cut
 * by a seed, against flat Uint8Array models.
 */
import fc from 'fast-check';
import { expectSame, pattern, turns } from '../../support/block-host.js';
import { attachedPair, KiB, type Pair } from '../../support/block-pair.js';

const SECTORS = (4 * 64 * KiB) / 512 + 72; // the last cluster is not whole
const LENGTH = SECTORS * 512;

const range = fc
  .tuple(
    fc.nat(SECTORS - 1),
    fc.oneof(fc.integer({ min: 1, max: 16 }), fc.integer({ min: 100, max: 300 })),
  )
  .map(([first, n]) => ({ offset: first * 512, length: Math.min(n, SECTORS - first) * 512 }));
const op = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ kind: fc.constant('write' as const), range, seed: fc.nat(200) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constantFrom('zero' as const, 'discard' as const), range }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('flush' as const) }) },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant('svmWrite' as const), range, seed: fc.nat(200) }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('svmZero' as const), range }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('svmRead' as const), range }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('cut' as const) }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('commit' as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('abort' as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('settle' as const), n: fc.nat(12) }) },
);
type Op = typeof op extends fc.Arbitrary<infer T> ? T : never;

/** xorshift: the schedule must come from the seed alone. */
function chance(seed: number): (n: number) => number {
  let x = seed | 1;
  return n => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return (x >>> 0) % n;
  };
}

class Run {
  readonly primary = pattern(LENGTH);
  /** Last committed checkpoint, and what the secondary guest sees over it. */
  committed = pattern(LENGTH);
  svm = pattern(LENGTH);
  private atCut?: { content: Buffer; done: Promise<number> };
  private readonly pending: Promise<void>[] = [];

  constructor(private readonly pair: Pair) {}

  async step(o: Op): Promise<void> {
    const { pvm, svm, p } = this.pair;
    switch (o.kind) {
      case 'write': {
        const data = pattern(o.range.length, o.seed);
        this.primary.set(data, o.range.offset);
        this.pending.push(pvm.pwrite(o.range.offset, data).then(() => void data.fill(0xcc)));
        return;
      }
      case 'zero':
      case 'discard':
        this.primary.fill(0, o.range.offset, o.range.offset + o.range.length);
        this.pending.push(
          o.kind === 'zero'
            ? pvm.writeZeroes(o.range.offset, o.range.length)
            : pvm.discard(o.range.offset, o.range.length),
        );
        return;
      case 'flush':
        this.pending.push(pvm.flush());
        return;
      case 'svmWrite': {
        const data = pattern(o.range.length, o.seed + 500);
        this.svm.set(data, o.range.offset);
        return svm.pwrite(o.range.offset, data);
      }
      case 'svmZero':
        this.svm.fill(0, o.range.offset, o.range.offset + o.range.length);
        return svm.writeZeroes(o.range.offset, o.range.length);
      case 'svmRead':
        return expectSame(
          await svm.pread(o.range.offset, o.range.length),
          this.svm.subarray(o.range.offset, o.range.offset + o.range.length),
        );
      case 'cut':
        if (this.atCut) return;
        await this.drain();
        this.atCut = { content: Buffer.from(this.primary), done: p.cut().epochDone };
        return;
      case 'commit':
        return this.commit();
      case 'abort':
        if (this.atCut) p.aborted();
        this.atCut = undefined;
        return;
      case 'settle':
        return turns(o.n);
    }
  }

  async commit(): Promise<void> {
    if (!this.atCut) return;
    const { p, s } = this.pair;
    expect(s.arrived()).toBeLessThanOrEqual(await this.atCut.done);
    expect(s.arrived()).toBe(await this.atCut.done);
    await s.checkpoint();
    this.committed = this.atCut.content;
    this.svm = Buffer.from(this.committed);
    this.atCut = undefined;
    p.committed();
  }

  async drain(): Promise<void> {
    await Promise.all(this.pending.splice(0));
    await this.pair.primary.drain();
  }
}

async function play(
  before: Op[],
  ops: Op[],
  seed: number,
  end: 'failover' | 'shutdown' | 'checkpoint',
): Promise<void> {
  const dice = chance(seed);
  const cut = (data: Buffer) => {
    const at = data.length > 2 && dice(3) === 0 ? 1 + dice(data.length - 1) : data.length;
    return at === data.length ? [data] : [data.subarray(0, at), data.subarray(at)];
  };
  const pair = await attachedPair({ image: pattern(LENGTH), cut });
  for (const host of [pair.primaryHost, pair.secondaryHost])
    host.files.delay = () => turns(dice(4));
  const run = new Run(pair);
  for (const o of before)
    if (!o.kind.startsWith('svm') && !['cut', 'commit', 'abort'].includes(o.kind))
      await run.step(o);
  await pair.s.start();
  await pair.p.start();
  for (const o of ops) await run.step(o);
  if (end === 'checkpoint') {
    await run.step({ kind: 'abort' });
    await run.step({ kind: 'cut' });
    await run.commit();
    expectSame(pair.primaryHost.files.bytes('/p.img'), run.primary);
    expectSame(pair.secondaryHost.files.bytes('/s.img'), run.primary);
  }
  await pair.s.stop(end === 'failover');
  expectSame(
    pair.secondaryHost.files.durable('/s.img'),
    end === 'failover' ? run.svm : run.committed,
  );
  await pair.p.stop();
  await run.drain();
  expectSame(pair.primaryHost.files.bytes('/p.img'), run.primary);
}

test(
  "failover at any point is the last committed checkpoint plus the secondary guest's " + 'writes',
  async () => {
    const property = fc.asyncProperty(
      fc.array(op, { maxLength: 6 }),
      fc.array(op, { maxLength: 40 }),
      fc.integer(),
      fc.constantFrom('failover' as const, 'shutdown' as const, 'checkpoint' as const),
      play,
    );
    await fc.assert(property, { numRuns: Number(process.env.COLO_RUNS ?? 60) });
  },
  120_000,
);
