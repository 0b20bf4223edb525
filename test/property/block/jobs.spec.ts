/**
 * Goal: whatever a guest writes while a job runs, its disk reads as a flat array says; a mirror's
 * and a commit's target is equal to it in the end, a backup's to the disk of its beginning; chains
 * of qcow2 images are sound afterwards. Failures, pauses and cancels at random points lose nothing
 * of the guest's. Method: random requests and interruptions over chains of three images.
 */
import fc from 'fast-check';
import { checkQcow2 } from '../../../src/block/drivers/qcow2/check.js';
import { readHeader } from '../../../src/block/drivers/qcow2/image.js';
import { openImage, withFile } from '../../../src/block/image/open.js';
import { startCommit, startStream } from '../../../src/block/jobs/start-commit.js';
import { startBackup, startMirror } from '../../../src/block/jobs/start.js';
import { parseDrive } from '../../../src/block/options/options.js';
import { expectSame, pattern, turns } from '../../support/block-host.js';
import { jobBench, KiB } from '../../support/jobs.js';

const SECTORS = 640;
const SIZE = SECTORS * 512;
const CLUSTER = 4 * KiB;

type Bench = ReturnType<typeof jobBench>;
const write = fc.record({
  what: fc.constantFrom('write', 'write', 'write', 'zero', 'discard'),
  first: fc.nat(SECTORS - 1),
  n: fc.integer({ min: 1, max: 60 }),
  seed: fc.nat(50),
});
type Write = typeof write extends fc.Arbitrary<infer T> ? T : never;
const step = fc.oneof(
  { arbitrary: write, weight: 6 },
  {
    arbitrary: fc.record({
      what: fc.constantFrom(
        'time',
        'turns',
        'pause',
        'resume',
        'fail',
        'complete',
        'cancel',
        'kill',
      ),
      n: fc.nat(20),
    }),
    weight: 3,
  },
);
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;
const images = fc.array(fc.array(write, { maxLength: 6 }), { minLength: 3, maxLength: 3 });

const isWrite = (s: Step): s is Write =>
  s.what === 'write' || s.what === 'zero' || s.what === 'discard';

async function change(
  guest: {
    pwrite(o: number, d: Uint8Array): Promise<void>;
    writeZeroes(o: number, l: number): Promise<void>;
    discard(o: number, l: number): Promise<void>;
  },
  model: Buffer,
  { what, first, n, seed }: Write,
) {
  const offset = first * 512;
  const length = Math.min(n, SECTORS - first) * 512;
  if (what === 'write') pattern(length, seed).copy(model, offset);
  else model.fill(0, offset, offset + length);
  if (what === 'write') await guest.pwrite(offset, pattern(length, seed));
  else await (what === 'zero' ? guest.writeZeroes(offset, length) : guest.discard(offset, length));
}

/** base <- middle <- top, each with something in it, and a guest on top. */
async function chain(contents: Write[][], more = '') {
  const bench = jobBench();
  const model = Buffer.alloc(SIZE);
  const names = ['/base', '/mid', '/top'];
  for (const [n, name] of names.entries()) {
    await bench.qcow2(name, SIZE, n === 0 ? undefined : names[n - 1], CLUSTER);
    const image = await openImage(bench.host, name, { format: 'qcow2', readOnly: false });
    for (const w of contents[n]) await change(image.node, model, w);
    await image.close();
  }
  const guest = await bench.disk(`file=/top,format=qcow2,id=d0,node-name=top${more}`);
  return { bench, guest, model };
}

/**
 * Plays the guest and the operator. Every write of the guest must succeed. Returns when the job is
 * over.
 */
async function play(
  bench: Bench,
  guest: Awaited<ReturnType<Bench['disk']>>,
  model: Buffer,
  steps: Step[],
  end: 'complete' | 'cancel',
) {
  const { layer, host } = bench;
  const job = () => bench.job('d0');
  // Writing a copy takes long enough for the guest to write in between.
  host.files.delay = () =>
    /^pwrite \/(t|mid|base) /.test(host.files.log.at(-1)!) ? turns(3) : Promise.resolve();
  const say = (verb: () => void) => {
    try {
      verb();
    } catch (error) {
      expect(String(error)).toMatch(
        /cannot accept|cannot be completed|not found|paused|already|being cancelled/,
      );
    }
  };
  const writes: Promise<void>[] = [];
  let under: Write[] = [];
  for (const s of steps) {
    if (isWrite(s)) {
      // The order of two that overlap is nobody's promise.
      if (under.some(other => other.first < s.first + s.n && s.first < other.first + other.n)) {
        await within(bench, writes.splice(0));
        under = [];
      }
      under.push(s);
      writes.push(change(guest, model, s));
      await turns(s.seed % 5);
    } else if (s.what === 'time') await host.clock.advance(s.n * 10);
    else if (s.what === 'turns') await turns(s.n);
    else if (s.what === 'fail') failing(bench, s.n);
    else if (s.what === 'pause') say(() => layer.jobs.get('d0').pause());
    else if (s.what === 'resume') say(() => layer.jobs.get('d0').resume());
    else if (s.what === 'complete') say(() => layer.jobs.get('d0').complete());
    else say(() => layer.jobs.get('d0').cancel(s.what === 'kill'));
  }
  await bench.until(() => {
    const found = job();
    if (found?.paused) say(() => layer.jobs.get('d0').resume());
    if (found?.ready)
      say(() =>
        end === 'complete' ? layer.jobs.get('d0').complete() : layer.jobs.get('d0').cancel(),
      );
    return found === undefined;
  });
  host.files.fault = () => undefined;
  await within(bench, writes);
  expectSame(await guest.pread(0, SIZE), model);
}

/** No write of the guest waits for long. */
async function within(bench: Bench, writes: Promise<void>[]) {
  let done = false;
  const all = Promise.all(writes).then(() => (done = true));
  await bench.until(() => done, 5000);
  await all;
}

/** The next few writes to the target fail. */
function failing({ host }: Bench, times: number) {
  let left = times;
  host.files.fault = (operation, path) => {
    if (path === '/t' && operation === 'pwrite' && left-- > 0)
      throw Object.assign(new Error('made up'), { code: left % 2 ? 'EIO' : 'ENOSPC' });
  };
}

async function sound({ host }: Bench, ...names: string[]) {
  for (const name of names)
    expect(
      await withFile(host, name, true, async file => checkQcow2(file, await readHeader(file))),
    ).toMatchObject({ corruptions: 0 });
}

async function content({ host }: Bench, name: string): Promise<Buffer> {
  const image = await openImage(host, name, { readOnly: true });
  const data = await image.node.pread(0, SIZE);
  await image.close();
  return data;
}

const ended = (bench: Bench) =>
  bench.named('BLOCK_JOB_COMPLETED').some(({ error }) => error === undefined);
const onTargetError = fc.constantFrom(
  'report' as const,
  'ignore' as const,
  'stop' as const,
  'enospc' as const,
);

test('mirror', async () => {
  await fc.assert(
    fc.asyncProperty(
      images,
      fc.array(step, { maxLength: 30 }),
      fc.constantFrom('full' as const, 'top' as const),
      fc.constantFrom('complete' as const, 'cancel' as const),
      onTargetError,
      fc.constantFrom(0, 2_000_000),
      async (contents, steps, sync, end, policy, speed) => {
        const { bench, guest, model } = await chain(contents);
        await startMirror(bench.layer.startContext, {
          device: 'd0',
          target: { target: '/t', mode: 'absolute-paths' },
          sync,
          onTargetError: policy,
          speed,
        });
        await play(bench, guest, model, steps, end);
        const good = ended(bench);
        await bench.layer.close();
        if (good) expectSame(await content(bench, '/t'), model);
        await sound(bench, '/top', '/t');
      },
    ),
    { numRuns: 15 },
  );
});

test('backup', async () => {
  await fc.assert(
    fc.asyncProperty(
      images,
      fc.array(step, { maxLength: 30 }),
      fc.constantFrom('full' as const, 'top' as const),
      onTargetError,
      fc.constantFrom(0, 2_000_000),
      async (contents, steps, sync, policy, speed) => {
        const { bench, guest, model } = await chain(contents);
        const before = Buffer.from(model);
        await startBackup(bench.layer.startContext, {
          device: 'd0',
          target: { target: '/t', mode: 'absolute-paths' },
          sync,
          onTargetError: policy,
          speed,
        });
        await bench.until(() => bench.job('d0')!.status !== 'created');
        await play(bench, guest, model, steps, 'cancel');
        const good = ended(bench);
        await bench.layer.close();
        if (good) expectSame(await content(bench, '/t'), before);
        await sound(bench, '/top', '/t');
      },
    ),
    { numRuns: 15 },
  );
});

test('commit of the disk itself, of an image in the middle, and stream', async () => {
  await fc.assert(
    fc.asyncProperty(
      images,
      fc.array(step, { maxLength: 30 }),
      fc.constantFrom('active', 'active to the middle', 'middle', 'stream', 'stream to base'),
      fc.constantFrom(0, 2_000_000),
      async (contents, steps, what, speed) => {
        const { bench, guest, model } = await chain(contents);
        const common = { device: 'd0', speed };
        if (what === 'active') await startCommit(bench.layer.startContext, common);
        else if (what === 'active to the middle')
          await startCommit(bench.layer.startContext, { ...common, base: '/mid' });
        else if (what === 'middle')
          await startCommit(bench.layer.startContext, { ...common, top: '/mid' });
        else
          await startStream(bench.layer.startContext, {
            ...common,
            base: what === 'stream' ? undefined : '/base',
          });
        await play(bench, guest, model, steps, 'complete');
        const good = ended(bench);
        const nodes = bench.layer.queryNamedBlockNodes().length;
        const root = bench.layer.queryBlock()[0].inserted!.details['filename'] ?? '';
        const pivoted = good && bench.layer.graph.find('top') === undefined;
        await bench.layer.close();
        const disk = !pivoted ? '/top' : what === 'active' ? '/base' : '/mid';
        expectSame(await content(bench, disk), model);
        await sound(bench, '/top', '/mid', '/base');
        if (good && what === 'middle') expect([nodes, root]).toEqual([4, '']);
        if (good && what === 'stream') expect(nodes).toBe(2);
        if (pivoted) expect(nodes).toBe(what === 'active' ? 2 : 4);
        for (const name of ['/top', '/mid', '/base'])
          expect(bench.host.files.inodes.get(name)!.locks).toEqual([]);
      },
    ),
    { numRuns: 25 },
  );
});

test('after a plain run nothing is left open', async () => {
  const { bench, guest, model } = await chain([[], [], []]);
  expect(parseDrive('file=/x,format=raw').interface).toBe('virtio');
  await startCommit(bench.layer.startContext, { device: 'd0', top: '/mid' });
  await play(bench, guest, model, [], 'complete');
  expect(bench.host.files.inodes.get('/mid')!.locks).toEqual([]);
  expect(bench.layer.graph.node('top').children.get('backing')!.readOnly).toBe(true);
});
