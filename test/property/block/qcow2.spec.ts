/**
 * Goal: a qcow2 image gives back what was written, and a crash between any two writes of its file
 * leaves an image without corruption that holds everything that was flushed. Method: random
 * requests against a flat array, over cluster sizes, versions, refcount widths and backing; crashes
 * made up from the log of the file, each unsynced sector kept or lost by chance; our own check
 * after each.
 */
import fc from 'fast-check';
import { checkQcow2 } from '../../../src/block/drivers/qcow2/check.js';
import { readHeader } from '../../../src/block/drivers/qcow2/image.js';
import { MemoryDriver } from '../../../src/block/drivers/memory.js';
import { BlockNode } from '../../../src/block/contract/node.js';
import { expectSame, pattern } from '../../support/block-host.js';
import { LoggedFile, newImage, openImage } from '../../support/qcow2.js';

const SECTORS = 640;
const SIZE = SECTORS * 512;
const shape = fc.record({
  version: fc.constantFrom(2 as const, 3 as const),
  clusterSize: fc.constantFrom(512, 1024, 4096, 65536),
  refcountBits: fc.constantFrom(1, 2, 4, 8, 16, 32, 64),
  backing: fc.constantFrom(0, SIZE, SIZE / 2),
});
const step = fc.record({
  what: fc.constantFrom(
    'write',
    'write',
    'write',
    'zero',
    'discard',
    'flush',
    'fua',
    'reopen',
    'compress',
    'empty',
  ),
  first: fc.nat(SECTORS - 1),
  n: fc.integer({ min: 1, max: 150 }),
  seed: fc.nat(50),
});
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;
type Shape = typeof shape extends fc.Arbitrary<infer T> ? T : never;

const backingNode = async (length: number) => {
  if (length === 0) return undefined;
  const node = new BlockNode(
    'backing',
    new MemoryDriver({ size: length, maxBytes: 1 << 22, readOnly: false }),
  );
  await node.pwrite(0, pattern(length, 77));
  return node;
};
const emptyModel = (backing: number) => Buffer.concat([pattern(backing, 77)], SIZE);

/** Gives the model as it was at each flush, with the length of the file's log then. */
async function play(s: Shape, steps: Step[], crash = false) {
  const options = {
    ...s,
    refcountBits: s.version === 2 ? 16 : s.refcountBits,
    size: SIZE,
    backingFile: s.backing ? 'base' : undefined,
  };
  const log = new LoggedFile();
  const file = await newImage(options, log);
  const begin = log.steps.length;
  const backing = await backingNode(s.backing);
  let { node, driver } = await openImage(file, { backing });
  const model = emptyModel(s.backing);
  const flushed = [
    { at: begin, model: Buffer.from(model), pending: [] as { offset: number; length: number }[] },
  ];
  const changed = (offset: number, length: number) =>
    flushed[flushed.length - 1].pending.push({ offset, length });
  for (const { what, first, n, seed } of steps) {
    const offset = first * 512;
    const length = Math.min(n, SECTORS - first) * 512;
    const durable = () =>
      flushed.push({ at: log.steps.length, model: Buffer.from(model), pending: [] });
    if (what === 'write' || what === 'fua') {
      changed(offset, length);
      pattern(length, seed).copy(model, offset);
      await node.pwrite(offset, pattern(length, seed), what === 'fua');
      if (what === 'fua') durable();
    } else if (what === 'zero' || what === 'discard') {
      changed(offset, length);
      model.fill(0, offset, offset + length);
      await (what === 'zero' ? node.writeZeroes(offset, length) : node.discard(offset, length));
    } else if (what === 'flush') {
      await node.flush();
      durable();
    } else if (what === 'reopen') {
      await node.close();
      durable();
      ({ node, driver } = await openImage(file, { backing }));
    } else if (what === 'compress') {
      const at = offset - (offset % s.clusterSize);
      const data = Buffer.alloc(Math.min(s.clusterSize, SIZE - at), seed + 1);
      changed(at, data.length);
      data.copy(model, at);
      await driver.writeCompressed(at, data);
    } else if (!crash) {
      await driver.clear();
      emptyModel(s.backing).copy(model);
      flushed.push({ at: log.steps.length, model: Buffer.from(model), pending: [] });
    }
  }
  return { node, driver, model, log, file, flushed, backing, begin };
}

test('against a flat array', async () => {
  await fc.assert(
    fc.asyncProperty(shape, fc.array(step, { maxLength: 25 }), async (s, steps) => {
      const { node, model, file } = await play(s, steps);
      expectSame(await node.pread(0, SIZE), model);
      await node.close();
      expect(await checkQcow2(file, await readHeader(file))).toMatchObject({
        corruptions: 0,
        leaks: 0,
        messages: [],
      });
      const again = await openImage(file, {
        readOnly: true,
        backing: await backingNode(s.backing),
      });
      expectSame(await again.node.pread(0, SIZE), model);
    }),
    { numRuns: 80 },
  );
}, 60_000);

test('many requests at once that do not overlap', async () => {
  await fc.assert(
    fc.asyncProperty(
      shape,
      fc.array(fc.tuple(fc.constantFrom('write', 'zero', 'read', 'flush'), fc.nat(7)), {
        maxLength: 12,
      }),
      async (s, work) => {
        const { node, model, file } = await play(s, []);
        // Pieces of 40 KiB: neighbours share clusters.
        const busy = new Set<number>();
        await Promise.all(
          work.map(async ([what, piece], seed) => {
            if (what === 'flush') return node.flush();
            if (what === 'read') return void (await node.pread(0, SIZE));
            if (busy.has(piece)) return;
            busy.add(piece);
            const data = what === 'zero' ? Buffer.alloc(40960) : pattern(40960, seed);
            data.copy(model, piece * 40960);
            await (what === 'zero'
              ? node.writeZeroes(piece * 40960, 40960)
              : node.pwrite(piece * 40960, data));
          }),
        );
        expectSame(await node.pread(0, SIZE), model);
        await node.close();
        expect(await checkQcow2(file, await readHeader(file))).toMatchObject({
          corruptions: 0,
          leaks: 0,
        });
      },
    ),
    { numRuns: 40 },
  );
}, 60_000);

test('a crash between any two writes', async () => {
  await fc.assert(
    fc.asyncProperty(
      shape,
      fc.array(step, { minLength: 3, maxLength: 15 }),
      fc.array(fc.tuple(fc.nat(), fc.infiniteStream(fc.boolean())), { minLength: 8, maxLength: 8 }),
      async (s, steps, crashes) => {
        const { log, flushed, begin } = await play(s, steps, true);
        for (const [where, chance] of crashes) {
          const at = begin + (where % (log.steps.length - begin + 1));
          const file = new BlockNode(
            'file',
            new LoggedFile(log.crashed(at, () => chance.next().value as boolean)),
          );
          const result = await checkQcow2(file, await readHeader(file));
          expect({ at, messages: result.messages.filter(m => m.startsWith('ERROR')) }).toEqual({
            at,
            messages: [],
          });
          const point = flushed.filter(f => f.at <= at).pop()!;
          const { node } = await openImage(file, {
            readOnly: true,
            backing: await backingNode(s.backing),
          });
          const [got, wanted] = [await node.pread(0, SIZE), Buffer.from(point.model)];
          // Requests since the flush may be there in whole, in part or not at all.
          for (const { offset, length } of point.pending)
            got.copy(wanted, offset, offset, offset + length);
          expectSame(got, wanted);
        }
      },
    ),
    { numRuns: 40 },
  );
}, 60_000);
