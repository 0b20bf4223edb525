/**
 * Goal: a secondary that is killed between any two writes of its files leaves the last checkpoint
 * whole: the hidden disk over the secondary disk; and once a failover merges, what its guest saw:
 * the active disk over both, or the secondary disk alone when its mark is gone. The overlays are
 * qcow2, and stay sound. Method: the real pair over simulated files; at random moments the three
 * files are kept as they are, and judged afterwards against flat arrays.
 */
import fc from 'fast-check';
import { checkQcow2 } from '../../../src/block/drivers/qcow2/check.js';
import { defaultCreateOptions } from '../../../src/block/drivers/qcow2/create.js';
import { readHeader } from '../../../src/block/drivers/qcow2/image.js';
import { createImage, withFile } from '../../../src/block/image/open.js';
import { decodePairRecord } from '../../../src/block/record/pair-record.js';
import { BlockLayer } from '../../../src/block/layer/layer.js';
import { pattern, testHost, turns } from '../../support/block-host.js';
import { attachedPair, KiB, type Pair } from '../../support/block-pair.js';

const SECTORS = 520; // the last cluster is not whole
const SIZE = SECTORS * 512;
const FILES = ['/s.img', '/h', '/a'];
const MOMENTS = 12;

const range = fc
  .tuple(
    fc.nat(SECTORS - 1),
    fc.oneof(fc.integer({ min: 1, max: 12 }), fc.integer({ min: 60, max: 200 })),
  )
  .map(([first, n]) => ({ offset: first * 512, length: Math.min(n, SECTORS - first) * 512 }));
const step = fc.record({
  what: fc.constantFrom('write', 'write', 'write', 'zero', 'svm', 'checkpoint', 'settle'),
  range,
  seed: fc.nat(100),
});
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

interface Moment {
  readonly files: ReadonlyMap<string, Buffer>;
  readonly marked: boolean;
  readonly taking: 'no' | 'shutdown' | 'failover';
  /** What may be covered: two while a checkpoint is being made. */
  readonly covered: readonly Buffer[];
  readonly svm: Buffer;
}

class Run {
  private readonly primary = pattern(SIZE);
  private covered = [Buffer.from(this.primary)];
  private svm = Buffer.from(this.primary);
  private taking: Moment['taking'] = 'no';
  private readonly pending: Promise<void>[] = [];
  readonly moments: Moment[] = [];
  /** Requests of the secondary's files so far. */
  requests = 0;

  /** when: the numbers of the requests before which the files are kept. */
  constructor(
    private readonly pair: Pair,
    when: ReadonlySet<number>,
  ) {
    pair.secondaryHost.files.fault = operation => {
      if (operation !== 'pread' && when.has(this.requests++)) this.keep();
    };
  }

  async step({ what, range: { offset, length }, seed }: Step): Promise<void> {
    const { pvm, svm } = this.pair;
    if (what === 'settle') return turns(seed % 12);
    if (what === 'checkpoint') return this.checkpoint();
    if (what === 'svm') {
      const before = Buffer.from(this.svm);
      pattern(length, seed + 500).copy(this.svm, offset);
      return before.equals(this.svm) ? undefined : svm.pwrite(offset, pattern(length, seed + 500));
    }
    if (what === 'write') pattern(length, seed).copy(this.primary, offset);
    else this.primary.fill(0, offset, offset + length);
    this.pending.push(
      what === 'write'
        ? pvm.pwrite(offset, pattern(length, seed))
        : pvm.writeZeroes(offset, length),
    );
  }

  async end(taking: 'shutdown' | 'failover'): Promise<void> {
    await Promise.all(this.pending);
    this.taking = taking;
    await this.pair.s.stop(taking === 'failover');
    await this.pair.p.stop();
  }

  private async checkpoint(): Promise<void> {
    const { p, s, primary } = this.pair;
    await Promise.all(this.pending.splice(0));
    await primary.drain();
    const content = Buffer.from(this.primary);
    const count = await p.cut().epochDone;
    expect(s.arrived()).toBe(count);
    this.covered.push(content);
    await s.checkpoint();
    this.covered = [content];
    this.svm = Buffer.from(content);
    p.committed();
  }

  private keep(): void {
    const { inodes } = this.pair.secondaryHost.files;
    this.moments.push({
      files: new Map(FILES.map(name => [name, Buffer.from(inodes.get(name)!.data)])),
      marked: marked(inodes.get('/s.img')!.label),
      taking: this.taking,
      covered: this.covered.map(content => Buffer.from(content)),
      svm: Buffer.from(this.svm),
    });
  }
}

async function overlays(clusterSize: number): Promise<Record<string, Buffer>> {
  const host = testHost();
  for (const name of ['/h', '/a'])
    await createImage(host, name, 'qcow2', { ...defaultCreateOptions, clusterSize, size: SIZE });
  return { '/h': host.files.bytes('/h'), '/a': host.files.bytes('/a') };
}

async function started(secondaryFiles: Record<string, Buffer>): Promise<Pair> {
  const secondaryDrive =
    'if=virtio,id=active-disk0,driver=replication,mode=secondary,file.driver=qcow2,' +
    'file.file.filename=/a,file.backing.driver=qcow2,file.backing.file.filename=/h,' +
    'file.backing.backing=colo-disk0';
  const pair = await attachedPair({ image: pattern(SIZE), secondaryFiles, secondaryDrive });
  await pair.s.start();
  await pair.p.start();
  return pair;
}

/** After the kill: what somebody reads who lays the images over each other again. */
/** The image says that it holds part of an epoch. */
const marked = (label: Uint8Array | undefined) =>
  label !== undefined && decodePairRecord(label).partial;

async function judge({ files, marked, taking, covered, svm }: Moment): Promise<void> {
  const host = testHost();
  for (const [name, data] of files) host.files.put(name, data);
  for (const name of ['/h', '/a'])
    expect(
      await withFile(host, name, true, async file => checkQcow2(file, await readHeader(file))),
    ).toMatchObject({ corruptions: 0 });
  const layer = new BlockLayer(host);
  await layer.blockdevAdd({
    driver: 'raw',
    'node-name': 's',
    file: { driver: 'file', filename: '/s.img' },
  });
  await layer.blockdevAdd({
    driver: 'qcow2',
    'node-name': 'h',
    file: { driver: 'file', filename: '/h' },
    backing: 's',
  });
  await layer.blockdevAdd({
    driver: 'qcow2',
    'node-name': 'a',
    file: { driver: 'file', filename: '/a' },
    backing: 'h',
  });
  const reads = async (name: string, wanted: readonly Buffer[]) => {
    const got = await layer.graph.node(name).pread(0, SIZE);
    return wanted.some(content => content.equals(got));
  };
  // A merge begins with the last checkpoint whole, and from then on has what the guest saw.
  const whole =
    taking !== 'failover'
      ? await reads(marked ? 'h' : 's', covered)
      : !marked
        ? await reads('s', [svm])
        : (await reads('a', [svm])) || (await reads('h', covered));
  expect({ marked, taking, whole }).toEqual({ marked, taking, whole: true });
  await layer.close();
}

test('killed at any moment', async () => {
  const kept = { running: 0, shutdown: 0, failover: 0 };
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(4 * KiB, 64 * KiB),
      fc.array(step, { minLength: 4, maxLength: 25 }),
      fc.constantFrom('failover' as const, 'shutdown' as const),
      fc.array(fc.nat(), { minLength: MOMENTS, maxLength: MOMENTS }),
      async (clusterSize, steps, end, dice) => {
        const images = await overlays(clusterSize);
        const play = async (when: ReadonlySet<number>) => {
          const run = new Run(await started(images), when);
          for (const s of steps) await run.step(s);
          await run.end(end);
          return run;
        };
        // Once to count the requests, once to keep what is chosen of them.
        const { requests } = await play(new Set());
        const { moments } = await play(new Set(dice.map(n => n % Math.max(1, requests))));
        for (const moment of moments) {
          kept[moment.taking === 'no' ? 'running' : moment.taking]++;
          await judge(moment);
        }
      },
    ),
    { numRuns: Number(process.env.COLO_RUNS ?? 25) },
  );
  for (const n of Object.values(kept)) expect(n).toBeGreaterThan(0);
}, 120_000);
