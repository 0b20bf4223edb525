/**
 * Goal: packed pages arrive as they were, whatever changed, and a hostile chunk gets a sentence and
 * touches no memory but its own. Method: the addon and the plain reference of the simulation, each
 * against the other, on random pages and on damaged chunks.
 */
import fc from 'fast-check';
import type { PageCodec, Ram } from '../../../src/accel/contract.js';
import { AddonRam } from '../../../src/accel/ram.js';
import { zstdDecompress } from '../../../src/host/node/zstd.js';
import { frameHead } from '../../../src/migration/frames.js';
import { decodePacked, packedBytesMax, PagePacker } from '../../../src/migration/packed-pages.js';
import { PACKED_TAG, WHOLE_TAG } from '../../../src/migration/page-tags.js';
import { applyChunk, PAGE_BYTES, PageStaging } from '../../../src/migration/pages.js';
import { SimRam } from '../../support/sim/ram.js';

const PAGES = 64;
const kind = { name: 'packed-pages', ordinal: 116, bytes: packedBytesMax };
const memories = { addon: () => new AddonRam(PAGES * PAGE_BYTES), plain };
function plain() {
  return new SimRam(PAGES * PAGE_BYTES);
}
const pairs: [packs: keyof typeof memories, unpacks: keyof typeof memories][] = [
  ['addon', 'addon'],
  ['addon', 'plain'],
  ['plain', 'addon'],
  ['plain', 'plain'],
];

let seed = 1;
const noise = (length: number) =>
  Buffer.from(
    Array.from({ length }, () => {
      seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
      return seed >>> 16;
    }),
  );

/** The plain one has no zstd. */
async function stored(body: Buffer): Promise<Buffer> {
  const payloadAt = 4 + body.readUInt32BE(0) * 6;
  const length = body.readUInt32BE(payloadAt);
  if (length === 0) return body;
  const from = payloadAt + 4;
  const bytes = await zstdDecompress(body.subarray(from, from + length), 2 ** 20);
  const head = Buffer.concat([body.subarray(0, payloadAt), Buffer.alloc(4)]);
  return Buffer.concat([head, bytes, body.subarray(from + length)]);
}

const body = (packer: PagePacker, ram: Ram, pages: number[]) => {
  const staging = new PageStaging();
  staging.fill(ram, Uint32Array.from(pages));
  return Buffer.from(packer.frame(staging, 0, pages.length).subarray(frameHead(kind.ordinal)));
};
const tagsOf = (chunk: Buffer) =>
  Array.from({ length: chunk.readUInt32BE(0) }, (_, i) => chunk.readUInt16BE(4 + i * 6 + 4));

type Change = readonly ['word' | 'text' | 'noise' | 'zero' | 'same' | 'many', number, number];
const change = fc.tuple(
  fc.constantFrom('word', 'text', 'noise', 'zero', 'same', 'many'),
  fc.nat(PAGES - 1),
  fc.nat(4000),
) as fc.Arbitrary<Change>;

function make(ram: Ram, [what, page, at]: Change): void {
  const from = page * PAGE_BYTES;
  if (what === 'word') ram.write(from + at, noise(8));
  else if (what === 'text') ram.write(from, Buffer.alloc(PAGE_BYTES, `line ${at} of a text\n`));
  else if (what === 'noise') ram.write(from, noise(PAGE_BYTES));
  else if (what === 'zero') ram.zero(Uint32Array.of(page));
  else if (what === 'many')
    for (let i = at % 8; i < PAGE_BYTES; i += 24) ram.write(from + i, noise(1));
}

test.each(pairs)('%s packs, %s unpacks: epoch after epoch the same RAM', async (packs, unpacks) => {
  const epochs = fc.array(fc.array(change, { maxLength: 30 }), { minLength: 2, maxLength: 6 });
  await fc.assert(
    fc.asyncProperty(epochs, fc.constantFrom(0, 16, PAGES), async (all, room) => {
      const [from, to] = [memories[packs](), memories[unpacks]()];
      const packer = new PagePacker(from, kind);
      const codec = to.pageCodec();
      for (const changes of all) {
        for (const each of changes) make(from, each);
        const pages = [...new Set(changes.map(([, page]) => page))].sort((a, b) => a - b);
        packer.sent.begin(room * PAGE_BYTES);
        if (pages.length > 0) {
          const sent = body(packer, from, pages);
          const taken = unpacks === 'plain' ? await stored(sent) : sent;
          applyChunk(to, decodePacked(taken, codec, PAGES, -1));
        }
        packer.sent.settle();
        const size = PAGES * PAGE_BYTES;
        expect(to.read(0, size)!.equals(from.read(0, size)!)).toBe(true);
      }
    }),
    { numRuns: 12 },
  );
});

test('the same words of both, and little of them', () => {
  const bodies = (['addon', 'plain'] as const).map(name => {
    seed = 9;
    const ram = memories[name]();
    const packer = new PagePacker(ram, kind);
    const pages = Array.from({ length: 8 }, (_, page) => page);
    for (const page of pages) make(ram, ['noise', page, 0]);
    packer.sent.begin(PAGES * PAGE_BYTES);
    const first = body(packer, ram, pages);
    packer.sent.settle();
    for (const page of pages) make(ram, ['word', page, page * 500]);
    packer.sent.begin(PAGES * PAGE_BYTES);
    return { first, second: body(packer, ram, pages) };
  });
  const [addon, plainly] = bodies;
  expect(addon).toEqual(plainly);
  expect(tagsOf(addon.first)).toEqual(Array(8).fill(WHOLE_TAG));
  expect(addon.second.length).toBeLessThan(8 * 40);
});

test('what can be compressed is, and noise is left as it is', () => {
  const ram = memories.addon();
  const packer = new PagePacker(ram, kind);
  for (let page = 0; page < 16; page++) make(ram, [page < 8 ? 'text' : 'noise', page, page]);
  packer.sent.begin(0);
  const chunk = body(packer, ram, [...Array(16).keys()]);
  expect(tagsOf(chunk)).toEqual([...Array(8).fill(PACKED_TAG), ...Array(8).fill(WHOLE_TAG)]);
  expect(chunk.length).toBeLessThan(8.5 * PAGE_BYTES);
});

test('changes that zstd makes no shorter do not keep it from pages', () => {
  const ram = memories.addon();
  const packer = new PagePacker(ram, kind);
  const all = [...Array(PAGES).keys()];
  for (let epoch = 0; epoch < 6; epoch++) {
    for (const page of all) make(ram, [epoch === 0 ? 'noise' : 'word', page, epoch * 600]);
    packer.sent.begin(PAGES * PAGE_BYTES);
    body(packer, ram, all);
    packer.sent.settle();
  }
  for (const page of all) make(ram, ['text', page, page]);
  packer.sent.begin(0);
  expect(body(packer, ram, all).length).toBeLessThan(PAGES * 100);
});

/** One of a change, of text and of noise; what it counts from. */
function sample(name: keyof typeof memories, content: 'text' | 'noise' = 'text') {
  const [from, to] = [plain(), memories[name]()];
  const packer = new PagePacker(content === 'text' ? memories.addon() : from, kind);
  for (const page of [3, 5]) for (const ram of [from, to]) make(ram, ['text', page, 7]);
  packer.sent.begin(PAGES * PAGE_BYTES);
  body(packer, from, [3, 5]);
  packer.sent.settle();
  from.write(3 * PAGE_BYTES + 100, Buffer.from('other words'));
  make(from, [content, 9, 1]);
  packer.sent.begin(PAGES * PAGE_BYTES);
  return { chunk: body(packer, from, [3, 9, 12]), to, codec: to.pageCodec() };
}
const decode = (codec: PageCodec, chunk: Buffer) => () => decodePacked(chunk, codec, PAGES, -1);

test.each(['addon', 'plain'] as const)('%s: a change of other content is refused', name => {
  const { chunk, to, codec } = sample(name, 'noise');
  const chunkApplied = decodePacked(chunk, codec, PAGES, -1);
  expect(chunkApplied.pages.length).toBe(2);
  to.write(3 * PAGE_BYTES + 4000, Buffer.from('x'));
  expect(decode(codec, chunk)).toThrow(
    'packed RAM of 3 pages: page 3 is not what its change was made from',
  );
});

test.each(['addon', 'plain'] as const)('%s: no damaged chunk does more than fail', name => {
  const { chunk, to, codec } = sample(name, name === 'plain' ? 'noise' : 'text');
  const before = to.hash();
  const tried = (bytes: Buffer) => {
    try {
      decodePacked(bytes, codec, PAGES, -1);
    } catch (error) {
      expect((error as Error).name).toBe('VmError');
    }
  };
  for (let length = 0; length < chunk.length; length += length < 60 ? 1 : 97) {
    expect(decode(codec, chunk.subarray(0, length))).toThrow();
    tried(chunk.subarray(0, length));
  }
  const damage = fc.array(fc.tuple(fc.nat(chunk.length - 1), fc.nat(255)), { minLength: 1 });
  fc.assert(
    fc.property(damage, changes => {
      const bytes = Buffer.from(chunk);
      for (const [at, value] of changes) bytes[at] = value;
      tried(bytes);
    }),
    { numRuns: 300 },
  );
  fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), garbage => tried(Buffer.from(garbage))));
  expect(to.hash()).toBe(before);
});

/** One page with these runs. */
const runs = (...bytes: number[]) => {
  const chunk = Buffer.alloc(4 + 6 + 4 + 8 + bytes.length);
  chunk.writeUInt32BE(1);
  chunk.writeUInt16BE(bytes.length, 8);
  chunk.set(bytes, 22);
  return chunk;
};

test.each([
  ['a run past the end of the page', runs(255, 0, 255, 0, 2, 1, 1, 2, 3, 4, 5, 6, 7, 8)],
  ['a run that is cut off', runs(0, 2, 1, 2, 3, 4, 5, 6, 7, 8)],
  ['half a run', runs(0, 0, 1)],
])('%s', (_name, chunk) => {
  for (const memory of Object.values(memories))
    expect(decode(memory().pageCodec(), chunk)).toThrow('the runs of page 0 do not fit a page');
});

test.each([
  ['packed RAM without a page count', [0, 0]],
  ['packed RAM of 0 pages', [0, 0, 0, 0]],
  ['packed RAM of 257 pages', [0, 0, 1, 1]],
  ['packed RAM is cut off', [0, 0, 0, 1, 0, 0, 0, 3]],
  ['RAM page 64 lies beyond', [0, 0, 0, 1, 0, 0, 0, 64, 0, 0, 0, 0, 0, 0]],
  ['in a way that is not known: 3073', [0, 0, 0, 1, 0, 0, 0, 3, 12, 1, 0, 0, 0, 0]],
  ['its pages have another length', [0, 0, 0, 1, 0, 0, 0, 3, 0, 2, 0, 0, 0, 0]],
])('%s', (sentence, bytes) => {
  for (const memory of Object.values(memories))
    expect(decode(memory().pageCodec(), Buffer.from(bytes))).toThrow(sentence);
});
