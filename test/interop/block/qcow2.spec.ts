/**
 * Goal: qemu-img and we agree on every qcow2 image. Method: images made by qemu-img and qemu-io with the options they have, read here;
 * images written here, checked and compared by qemu-img. Skipped by name where it is not installed.
 */
import { execFile, spawnSync } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { BlockLayer } from '../../../src/block/layer.js';
import { parseDrive } from '../../../src/block/options.js';
import { expectSame, pattern } from '../../support/block-host.js';
import { realHost } from '../../support/block-real-host.js';
import { LoggedFile, newImage, openImage } from '../../support/qcow2.js';

const run = promisify(execFile);
const installed = (program: string) => spawnSync('sh', ['-c', `command -v ${program}`]).status === 0;
const withQemuImg = installed('qemu-img') ? test : test.skip;
const SIZE = 3 * 1024 * 1024 + 512;

let dir: string;
const at = (name: string) => join(dir, name);
beforeEach(async () => (dir = await mkdtemp(join(tmpdir(), 'colo-qcow2-'))));
afterEach(() => rm(dir, { recursive: true }));

const qemuImg = async (...args: string[]) => (await run('qemu-img', args)).stdout;
const check = (name: string) => qemuImg('check', '-f', 'qcow2', at(name));

async function contentOf(drive: string): Promise<Buffer> {
  const layer = new BlockLayer(realHost);
  try {
    await layer.addDrive(parseDrive(`${drive},id=d,readonly=on`));
    return await layer.backend('d').pread(0, layer.backend('d').length);
  } finally {
    await layer.close();
  }
}

const made = [
  '-o compat=0.10', '-o compat=1.1', '-o cluster_size=512', '-o cluster_size=4k', '-o cluster_size=2M', '-o refcount_bits=1', '-o refcount_bits=2', '-o refcount_bits=8', '-o refcount_bits=64',
  '-o lazy_refcounts=on', '-o preallocation=metadata', '-c', '-c -o cluster_size=4k', '-c -o compat=0.10,cluster_size=512', '-c -o cluster_size=2M,refcount_bits=1',
];
withQemuImg('images that qemu-img makes read back equal', async () => {
  const content = pattern(SIZE);
  content.fill(0, 1 << 20, 2 << 20);
  await writeFile(at('raw'), content);
  for (const [n, options] of made.entries()) {
    await qemuImg('convert', '-f', 'raw', '-O', 'qcow2', ...options.split(' '), at('raw'), at(`${n}`));
    expectSame(await contentOf(`file=${at(`${n}`)},format=qcow2`), content);
  }
}, 60_000);

withQemuImg('what they made, written to by us, passes their check', async () => {
  const layer = new BlockLayer(realHost);
  const content = pattern(SIZE);
  await writeFile(at('raw'), content);
  for (const [n, options] of made.entries()) {
    await qemuImg('convert', '-f', 'raw', '-O', 'qcow2', ...options.split(' '), at('raw'), at(`${n}`));
    await layer.addDrive(parseDrive(`file=${at(`${n}`)},format=qcow2,id=d${n}`));
    const guest = layer.claim(`d${n}`, `v${n}`);
    await guest.pwrite(100 * 512, pattern(100_352, 9));
    await guest.writeZeroes(1 << 20, 1 << 20);
    await guest.pwrite((1 << 20) + 4096, pattern(512, 4));
    await guest.discard((2 << 20) + 512, 300_032);
  }
  await layer.close();
  pattern(100_352, 9).copy(content, 100 * 512);
  content.fill(0, 1 << 20, 2 << 20).fill(0, (2 << 20) + 512, (2 << 20) + 300_544);
  pattern(512, 4).copy(content, (1 << 20) + 4096);
  await writeFile(at('raw'), content);
  for (const n of made.keys()) {
    expect(await check(`${n}`)).toContain('No errors were found');
    expect(await qemuImg('compare', '-f', 'raw', '-F', 'qcow2', at('raw'), at(`${n}`))).toContain('identical');
  }
}, 60_000);

withQemuImg('internal snapshots and bitmaps stay as they are', async () => {
  await writeFile(at('raw'), pattern(SIZE));
  await qemuImg('convert', '-O', 'qcow2', at('raw'), at('s'));
  await qemuImg('snapshot', '-c', 'first', at('s'));
  const layer = new BlockLayer(realHost);
  await layer.addDrive(parseDrive(`file=${at('s')},format=qcow2,id=d`));
  const guest = layer.claim('d', 'v');
  await guest.pwrite(1000 * 512, pattern(SIZE - 1000 * 512, 5));
  await guest.discard(0, 65536);
  await layer.close();
  expect(await check('s')).toContain('No errors were found');
  await qemuImg('convert', '-l', 'first', '-O', 'raw', at('s'), at('was'));
  expectSame(await readFile(at('was')), pattern(SIZE));
  await qemuImg('snapshot', '-a', 'first', at('s'));
  expectSame(await contentOf(`file=${at('s')},format=qcow2`), pattern(SIZE));
  await qemuImg('bitmap', '--add', at('s'), 'b0');
  expect((await contentOf(`file=${at('s')},format=qcow2`)).length).toBe(SIZE);
  expect(await qemuImg('info', at('s'))).toContain('b0');
}, 30_000);

withQemuImg('backing chains: theirs read here, ours read there', async () => {
  await writeFile(at('base'), pattern(SIZE));
  await qemuImg('create', '-q', '-f', 'qcow2', '-b', 'base', '-F', 'raw', at('mid'));
  await qemuImg('create', '-q', '-f', 'qcow2', '-o', 'cluster_size=4k', '-b', 'mid', '-F', 'qcow2', at('top'), '4M');
  await run('qemu-io', ['-f', 'qcow2', '-c', 'write -P 7 64k 100k', '-c', 'write -z 1M 1M', at('mid')]);
  const layer = new BlockLayer(realHost);
  await layer.addDrive(parseDrive(`file=${at('top')},format=qcow2,id=d`));
  const guest = layer.claim('d', 'v');
  await guest.pwrite(512 * 77, pattern(5120, 3));
  await guest.pwrite(SIZE - 512, pattern(2048, 8));
  await layer.close();
  const model = Buffer.concat([pattern(SIZE)], 4 << 20);
  model.fill(7, 65536, 65536 + 102400).fill(0, 1 << 20, 2 << 20);
  pattern(5120, 3).copy(model, 512 * 77);
  pattern(2048, 8).copy(model, SIZE - 512);
  expectSame(await contentOf(`file=${at('top')},format=qcow2`), model);
  await qemuImg('convert', '-O', 'raw', at('top'), at('flat'));
  expectSame(await readFile(at('flat')), model);
  expect(await check('top')).toContain('No errors were found');
}, 30_000);

withQemuImg('after a loss of power at any point of a workload: leaks at most', async () => {
  for (const [round, clusterSize] of [512, 4096, 65536].entries()) {
    const log = new LoggedFile();
    const file = await newImage({ size: SIZE, clusterSize }, log);
    const begin = log.steps.length;
    const { node } = await openImage(file);
    for (let n = 0; n < 30; n++) {
      const first = (n * 7919 + round) % 6000;
      await (n % 5 === 4 ? node.writeZeroes(first * 512, 30 * 512) : node.pwrite(first * 512, pattern(140 * 512, n)));
      if (n % 3 === 0) await node.flush();
    }
    for (let crash = 0; crash < 4; crash++) {
      const where = begin + Math.floor(((log.steps.length - begin) * (crash + 1)) / 4.3);
      let chance = crash * 7 + round;
      await writeFile(at('c'), log.crashed(where, () => (chance = (chance * 1103515245 + 12345) % 2 ** 31) % 3 > 0));
      const { code } = await run('qemu-img', ['check', '-f', 'qcow2', at('c')]).then(() => ({ code: 0 }), (e: { code: number }) => e);
      expect([0, 3]).toContain(code);
    }
  }
}, 60_000);
