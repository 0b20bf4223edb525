/**
 * Goal: the check of a large image ends at once when the user interrupts it, and the image is as
 * good as before, also in the middle of a repair. Method: the program itself, told to stop when it
 * has shown its first percent; an image whose tables take it seconds.
 */
import { closeSync, mkdtempSync, openSync, rmSync, statSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { defaultCreateOptions } from '../../../src/block/drivers/qcow2/create.js';
import { readHeader } from '../../../src/block/drivers/qcow2/image.js';
import { createImage, openImage, withFile } from '../../../src/block/image/open.js';
import { nodeHost } from '../../../src/host/node/host.js';
import { expectSame, pattern } from '../../support/block-host.js';
import { colo, ColoProcess } from '../../support/colo-process.js';

const dir = mkdtempSync(join(tmpdir(), 'colo-check-'));
const image = join(dir, 'large.qcow2');
const host = nodeHost();
const limitMs = 120_000;

beforeAll(async () => {
  await createImage(host, image, 'qcow2', {
    ...defaultCreateOptions,
    size: 2 ** 30,
    clusterSize: 4096,
    preallocation: 'metadata',
  });
  const { node, close } = await openImage(host, image, { readOnly: false });
  await node.pwrite(0, pattern(65536));
  await close();
}, limitMs);
afterAll(() => rmSync(dir, { recursive: true }));

async function interrupted(...args: string[]): Promise<void> {
  const run = new ColoProcess(['image', 'check', '-p', ...args, image]);
  await run.until('the first percent', () => run.err.includes('%'));
  run.child.kill('SIGINT');
  await run.exited;
  expect(run.child.signalCode).toBe('SIGINT');
  expect(run.out).toBe('');
}

test(
  'a check that is interrupted ends by the signal, and has changed nothing',
  async () => {
    const { mtimeMs, size } = statSync(image);
    await interrupted();
    expect(statSync(image)).toMatchObject({ mtimeMs, size });
  },
  limitMs,
);

test(
  'a repair that is interrupted can be done again, and what the disk holds is the same',
  async () => {
    const block = await withFile(host, image, true, async file => {
      const { refcountTableOffset } = await readHeader(file);
      return Number((await file.pread(refcountTableOffset, 512)).readBigUInt64BE(16));
    });
    // 2048 clusters that are in use and not counted: what a repair is to make right.
    const fd = openSync(image, 'r+');
    writeSync(fd, Buffer.alloc(4096), 0, 4096, block);
    closeSync(fd);
    await interrupted('-r', 'all');
    expect((await colo(['image', 'check', '-q', '-r', 'all', image])).code).toBe(0);
    const { node, close } = await openImage(host, image, { readOnly: true });
    expectSame(await node.pread(0, 65536), pattern(65536));
    await close();
    expect((await colo(['image', 'check', '-q', image])).code).toBe(0);
  },
  limitMs,
);
