/**
 * Goal: qemu-img and we agree on every qcow2 image. Method: images made by qemu-img and qemu-io
 * with the options they have, read here; images written here, checked and compared by qemu-img.
 * Skipped by name where it is not installed.
 */
import { execFile, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { BlockLayer } from '../../../src/block/layer/layer.js';
import { checkQcow2 } from '../../../src/block/drivers/qcow2/check.js';
import { readHeader } from '../../../src/block/drivers/qcow2/image.js';
import { createImage, openImage as openFile, withFile } from '../../../src/block/image/open.js';
import { defaultCreateOptions } from '../../../src/block/drivers/qcow2/create.js';
import { parseDrive } from '../../../src/block/options/options.js';
import { expectSame, pattern } from '../../support/block-host.js';
import { writeNumber } from '../../support/qcow2-writes.js';
import { realHost } from '../../support/block-real-host.js';
import { LoggedFile, newImage, openImage } from '../../support/qcow2.js';

const run = promisify(execFile);
const installed = (program: string) =>
  spawnSync('sh', ['-c', `command -v ${program}`]).status === 0;
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
  '-o compat=0.10',
  '-o compat=1.1',
  '-o cluster_size=512',
  '-o cluster_size=4k',
  '-o cluster_size=2M',
  '-o lazy_refcounts=on',
  '-o preallocation=metadata',
  '-o preallocation=falloc',
  '-o preallocation=full',
  ...[1, 2, 4, 8, 32, 64].map(bits => `-o refcount_bits=${bits}`),
  '-c',
  '-c -o cluster_size=4k',
  '-c -o compat=0.10,cluster_size=512',
  '-c -o cluster_size=2M,refcount_bits=1',
  ...['512', '4k', '64k', '2M'].map(size => `-c -o compression_type=zstd,cluster_size=${size}`),
  '-c -o compression_type=zstd,refcount_bits=1,lazy_refcounts=on',
  '-o preallocation=metadata,refcount_bits=1,cluster_size=512',
];
withQemuImg(
  'images that qemu-img makes read back equal',
  async () => {
    const content = pattern(SIZE);
    content.fill(0, 1 << 20, 2 << 20);
    await writeFile(at('raw'), content);
    for (const [n, options] of made.entries()) {
      await qemuImg(
        'convert',
        '-f',
        'raw',
        '-O',
        'qcow2',
        ...options.split(' '),
        at('raw'),
        at(`${n}`),
      );
      expectSame(await contentOf(`file=${at(`${n}`)},format=qcow2`), content);
    }
  },
  60_000,
);

withQemuImg(
  'what they made, written to by us, passes their check',
  async () => {
    const layer = new BlockLayer(realHost);
    const content = pattern(SIZE);
    await writeFile(at('raw'), content);
    for (const [n, options] of made.entries()) {
      await qemuImg(
        'convert',
        '-f',
        'raw',
        '-O',
        'qcow2',
        ...options.split(' '),
        at('raw'),
        at(`${n}`),
      );
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
      expect(await qemuImg('compare', '-f', 'raw', '-F', 'qcow2', at('raw'), at(`${n}`))).toContain(
        'identical',
      );
    }
  },
  60_000,
);

withQemuImg(
  'internal snapshots and bitmaps stay as they are',
  async () => {
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
    for (const name of ['b0', 'b1']) await qemuImg('bitmap', '--add', at('s'), name);
    await run('qemu-io', ['-f', 'qcow2', '-c', 'write 1M 300k', at('s')]);
    expect((await contentOf(`file=${at('s')},format=qcow2`)).length).toBe(SIZE);
    expect(await qemuImg('info', at('s'))).not.toContain('in-use');
    const again = new BlockLayer(realHost);
    await again.addDrive(parseDrive(`file=${at('s')},format=qcow2,id=d`));
    await again.claim('d', 'v').pwrite(512, pattern(200 * 512, 6));
    await again.close();
    expect(await qemuImg('info', at('s'))).toMatch(/in-use[^]*name: b0[^]*in-use[^]*name: b1/);
    expect(await check('s')).toContain('No errors were found');
    await withFile(realHost, at('s'), true, async file =>
      expect(await checkQcow2(file, await readHeader(file))).toMatchObject({
        corruptions: 0,
        leaks: 0,
      }),
    );
    // Bitmaps that no longer follow the disk are only good for removal.
    for (const name of ['b0', 'b1']) await qemuImg('bitmap', '--remove', at('s'), name);
    expect(await check('s')).toContain('No errors were found');
  },
  30_000,
);

withQemuImg(
  'backing chains: theirs read here, ours read there',
  async () => {
    await writeFile(at('base'), pattern(SIZE));
    await qemuImg('create', '-q', '-f', 'qcow2', '-b', 'base', '-F', 'raw', at('mid'));
    await qemuImg(
      'create',
      '-q',
      '-f',
      'qcow2',
      '-o',
      'cluster_size=4k',
      '-b',
      'mid',
      '-F',
      'qcow2',
      at('top'),
      '4M',
    );
    await run('qemu-io', [
      '-f',
      'qcow2',
      '-c',
      'write -P 7 64k 100k',
      '-c',
      'write -z 1M 1M',
      at('mid'),
    ]);
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
  },
  30_000,
);

withQemuImg(
  'after a loss of power at any point of a workload: leaks at most',
  async () => {
    for (const [round, clusterSize] of [512, 4096, 65536].entries()) {
      const log = new LoggedFile();
      const file = await newImage({ size: SIZE, clusterSize }, log);
      const begin = log.steps.length;
      const { node } = await openImage(file);
      for (let n = 0; n < 30; n++) {
        const first = (n * 7919 + round) % 6000;
        await (n % 5 === 4
          ? node.writeZeroes(first * 512, 30 * 512)
          : node.pwrite(first * 512, pattern(140 * 512, n)));
        if (n % 3 === 0) await node.flush();
      }
      for (let crash = 0; crash < 4; crash++) {
        const where = begin + Math.floor(((log.steps.length - begin) * (crash + 1)) / 4.3);
        let chance = crash * 7 + round;
        await writeFile(
          at('c'),
          log.crashed(where, () => (chance = (chance * 1103515245 + 12345) % 2 ** 31) % 3 > 0),
        );
        const { code } = await run('qemu-img', ['check', '-f', 'qcow2', at('c')]).then(
          () => ({ code: 0 }),
          (e: { code: number }) => e,
        );
        expect([0, 3]).toContain(code);
      }
    }
  },
  60_000,
);

withQemuImg(
  'a writer killed with -9 at any moment leaves an image without corruption that holds all ' +
    'that was flushed',
  async () => {
    for (const [n, options] of [
      'cluster_size=64k',
      'cluster_size=4k,refcount_bits=1',
      'cluster_size=512,lazy_refcounts=on',
    ].entries()) {
      await qemuImg('create', '-q', '-f', 'qcow2', '-o', options, at('k'), '16M');
      let acknowledged = 0;
      const child = spawn(
        process.execPath,
        [
          '--import',
          'tsx',
          fileURLToPath(new URL('../../support/qcow2-writer.ts', import.meta.url)),
          at('k'),
        ],
        { stdio: ['ignore', 'pipe', 'inherit'] },
      );
      child.stdout.on(
        'data',
        (data: Buffer) =>
          (acknowledged = Math.max(acknowledged, ...data.toString().split('\n').map(Number))),
      );
      await once(child.stdout, 'data');
      await new Promise(resolve => setTimeout(resolve, 60 + n * 90));
      child.kill('SIGKILL');
      await once(child, 'close');
      const { code, stdout } = await run('qemu-img', ['check', '-f', 'qcow2', at('k')]).then(
        ({ stdout }) => ({ code: 0, stdout }),
        (e: { code: number; stdout: string }) => e,
      );
      expect({ options, code, stdout: code === 0 || code === 3 ? '' : stdout }).toEqual({
        options,
        code: code === 3 ? 3 : 0,
        stdout: '',
      });
      expect(acknowledged).toBeGreaterThan(3);
      let compared = 0;
      const image = await openFile(realHost, at('k'), { format: 'qcow2', readOnly: true });
      for (let write = Math.max(0, acknowledged - 200); write < acknowledged; write++) {
        const { offset, data } = writeNumber(write);
        // Where nothing was written beside it or after it.
        const others = Array.from(
          { length: acknowledged - write + 44 },
          (_, i) => write - 4 + i,
        ).filter(other => other >= 0 && other !== write);
        if (
          others
            .map(writeNumber)
            .some(w => w.offset < offset + data.length && w.offset + w.data.length > offset)
        )
          continue;
        expectSame(await image.node.pread(offset, data.length), data);
        compared++;
      }
      expect(compared).toBeGreaterThan(5);
      await image.close();
    }
  },
  60_000,
);

withQemuImg(
  'zstd that we write is read by them',
  async () => {
    const content = Buffer.alloc(SIZE, 'some text that repeats itself. ');
    await writeFile(at('raw'), content);
    await createImage(realHost, at('z'), 'qcow2', {
      ...defaultCreateOptions,
      size: SIZE,
      compression: 'zstd',
    });
    const image = await openFile(realHost, at('z'), { format: 'qcow2', readOnly: false });
    for (let offset = 0; offset < SIZE; offset += 65536)
      await image.qcow2!.writeCompressed(offset, content.subarray(offset, offset + 65536));
    await image.close();
    expect(await check('z')).toMatch(
      /No errors were found[^]*9[0-9]\.[0-9]*% compressed|100\.00% compressed/,
    );
    expect(await qemuImg('compare', '-f', 'raw', '-F', 'qcow2', at('raw'), at('z'))).toContain(
      'identical',
    );
    expectSame(await contentOf(`file=${at('z')},format=qcow2`), content);
  },
  30_000,
);
