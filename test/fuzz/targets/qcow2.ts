/** A qcow2 file that somebody has changed or cut short, through every verb that takes one. */
import { asVmError, VmError } from '../../../src/base/errors.js';
import { checkQcow2 } from '../../../src/block/drivers/qcow2/check.js';
import { readHeader } from '../../../src/block/drivers/qcow2/image.js';
import { HeaderAt } from '../../../src/block/drivers/qcow2/header.js';
import { copyImage } from '../../../src/block/tools/copy.js';
import { mapImage } from '../../../src/block/tools/map.js';
import { unlessAssertion } from '../../../src/block/contract/io-error.js';
import { BlockNode } from '../../../src/block/contract/node.js';
import { MemoryDriver } from '../../../src/block/drivers/memory.js';
import { LoggedFile, newImage, openImage } from '../../support/qcow2.js';
import type { Random } from '../../support/random.js';
import type { FuzzTarget } from '../target.js';

const SIZE = 256 * 1024;
/** What a file may grow to: an image that asks for more is none of these. */
const MOST = 64 << 20;
const pattern = (random: Random, length: number) => Buffer.alloc(length, random.below(4));

/** Memory that ends: a change of a table must not make the test's file endless. */
class SmallFile extends LoggedFile {
  override async resize(length: number): Promise<void> {
    if (length > MOST) throw new VmError('no space left', { cause: { code: 'ENOSPC' } });
    await super.resize(length);
    this.steps.length = 0;
  }
}

async function sound(random: Random): Promise<Buffer> {
  const version = random.pick([2, 3] as const);
  const log = new LoggedFile();
  const file = await newImage(
    {
      size: SIZE,
      version,
      clusterSize: random.pick([512, 4096, 65536, 2 << 20]),
      refcountBits: version === 2 ? 16 : random.pick([1, 2, 4, 8, 16, 32, 64]),
      compression: version === 3 && random.chance(0.2) ? 'zstd' : 'zlib',
      backingFile: random.chance(0.2) ? 'base' : undefined,
    },
    log,
  );
  const { node, driver } = await openImage(file);
  for (let n = random.below(6); n > 0; n--) {
    const at = random.below(SIZE / 512) * 512;
    const length = Math.min(SIZE - at, 512 * (1 + random.below(40)));
    const kind = random.below(5);
    if (kind === 0) await node.writeZeroes(at, length);
    else if (kind === 1)
      await driver.writeCompressed(0, Buffer.alloc(Math.min(SIZE, driver.unit), 7));
    else await node.pwrite(at, pattern(random, length));
  }
  await node.close();
  return withTables(random, log.data, driver.unit);
}

/** Snapshots and bitmaps that say something, right or not. */
function withTables(random: Random, image: Buffer, clusterSize: number): Buffer {
  if (random.chance(0.5)) return image;
  const end = Math.ceil(image.length / clusterSize) * clusterSize;
  const out = Buffer.concat([image], end + 2 * clusterSize);
  const kind = random.below(2);
  if (kind === 0) {
    out.writeUInt32BE(1 + random.below(3), 60);
    out.writeUInt32BE(end, 68);
    image.copy(out, end, HeaderAt.L1_OFFSET, HeaderAt.L1_OFFSET + 8);
    image.copy(out, end + 8, HeaderAt.L1_SIZE, HeaderAt.L1_SIZE + 4);
  } else if (clusterSize >= 4096) {
    const extension = Buffer.alloc(32);
    extension.writeUInt32BE(0x2385_2875, 0);
    extension.writeUInt32BE(24, 4);
    extension.writeUInt32BE(1, 8);
    extension.writeUInt32BE(32, 20);
    extension.writeUInt32BE(end, 28);
    extension.copy(out, 112);
    out.writeUInt32BE(1, 92);
    out.writeUInt32BE(end + clusterSize, end + 4);
    out.writeUInt32BE(1, end + 8);
  }
  return out;
}

const words = [0, 1, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 0x4000_0000, 0x0020_0000, 512, 65536];

/** Tables are at the front of an image; further behind is data. */
function spoil(random: Random, image: Buffer): Buffer {
  const out = Buffer.from(image);
  for (let n = random.below(5); n > 0; n--) {
    const within = random.pick([112, 1024, 8192, out.length]);
    const at = random.below(Math.max(1, Math.min(within, out.length) - 4));
    if (random.chance(0.4)) out.writeUInt32BE(random.pick(words), at - (at % 4));
    else if (random.chance(0.5)) out[at] = random.below(256);
    else
      out.copy(out, at - (at % 8), random.below(out.length >> 3) * 8, Math.min(out.length, at + 8));
  }
  return random.chance(0.15) ? out.subarray(0, random.below(out.length)) : out;
}

/** A refusal in words is what must be; anything else is the fault. */
async function refused(body: () => Promise<unknown>): Promise<void> {
  try {
    await body();
  } catch (error) {
    if (!(asVmError(unlessAssertion(error)) === error)) throw error;
  }
}

async function useIt(random: Random, file: BlockNode): Promise<void> {
  const { node, driver } = await openImage(file, { readOnly: random.chance(0.3) });
  const length = Math.min(node.length, SIZE);
  const place = () => random.below(Math.max(1, length / 512)) * 512;
  const some = (at: number) => Math.min(length - at, 512 * (1 + random.below(64)));
  for (let n = 0; n < 12; n++) {
    const at = place();
    const verbs: (() => Promise<unknown>)[] = [
      () => node.pread(at, some(at)),
      () => node.pwrite(at, pattern(random, some(at))),
      () => node.discard(at, some(at)),
      () => node.flush(),
      () => node.blockStatus(at, some(at)),
      () => driver.writeCompressed(0, Buffer.alloc(Math.min(driver.unit, node.length), 9)),
      () => node.resize(random.pick([length * 2, length / 2, length])),
    ];
    await refused(random.pick(verbs));
  }
  await refused(() => node.close());
}

async function copyIt(random: Random, file: BlockNode): Promise<void> {
  const { node } = await openImage(file, { readOnly: true });
  if (node.length > MOST) return;
  const target = new BlockNode(
    'target',
    new MemoryDriver({ size: node.length, maxBytes: MOST, readOnly: false }),
  );
  if (random.chance(0.5))
    await refused(() =>
      copyImage(node, target, { targetIsZero: true, sparseBytes: 4096, lanes: 2 }),
    );
  await refused(async () => {
    let entries = 0;
    for await (const { length } of mapImage(node, 0, node.length))
      if (length <= 0 || ++entries > 1 << 16) throw new Error('a map without end');
  });
}

export const qcow2Target: FuzzTarget = {
  name: 'qcow2',
  summary:
    'qcow2 images that were changed or cut: read, written, resized, copied, checked and ' +
    'repaired, or refused in words',
  async run(random) {
    const bytes = spoil(random, await sound(random));
    const file = () => new BlockNode('file', new SmallFile(Buffer.from(bytes)));
    await refused(() => useIt(random, file()));
    await refused(() => copyIt(random, file()));
    const one = file();
    await refused(async () => checkQcow2(one, await readHeader(one)));
    await refused(async () => {
      const first = await checkQcow2(one, await readHeader(one), 'all');
      if (first.corruptions > 0) return;
      const { corruptions, leaks } = await checkQcow2(one, await readHeader(one));
      if (corruptions + leaks > 0)
        throw new Error(`${corruptions} corruptions and ${leaks} leaks after a repair`);
    });
  },
};
