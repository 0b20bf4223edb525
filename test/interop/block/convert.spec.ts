/**
 * Goal: an image that was copied holds what its source held and no more than it must, whatever lies
 * where in either; compare finds the first difference. Method: random layouts on real files, so
 * that jobs between files take part; qemu-img checks, compares, and says how much it would have
 * held.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { defaultCreateOptions } from '../../../src/block/drivers/qcow2/create.js';
import { copyImage, firstDifference } from '../../../src/block/tools/copy.js';
import { cachedAs } from '../../../src/block/tools/files.js';
import { createImage, openImage, type OpenedImage } from '../../../src/block/image/open.js';
import { nodeHost } from '../../../src/host/node/host.js';
import { expectSame } from '../../support/block-host.js';
import { Random } from '../../support/random.js';

const withQemuImg = spawnSync('sh', ['-c', 'command -v qemu-img']).status === 0 ? test : test.skip;
const dir = mkdtempSync(join(tmpdir(), 'colo-convert-'));
const at = (name: string) => join(dir, name);
afterAll(() => rmSync(dir, { recursive: true }));

const formats = ['raw', 'qcow2'] as const;
const KIB = 1024;
const SIZE = 6 * 1024 * KIB + 512;
const real = nodeHost();
/** Nothing here has to survive a crash. */
const host = { ...real, files: cachedAs(real.files, 'unsafe') };
const qemuImg = (...args: string[]) => execFileSync('qemu-img', args, { stdio: 'pipe' }).toString();

/** Written data and written zeroes of every length, with nothing in between. */
async function scatter(image: OpenedImage, random: Random): Promise<void> {
  for (let n = 0; n < 40; n++) {
    const unit = [512, 4096, 65536][random.below(3)];
    const offset = random.below(Math.floor(SIZE / unit)) * unit;
    const length = Math.min(unit * (1 + random.below(12)), SIZE - offset);
    await image.node.pwrite(
      offset,
      Buffer.alloc(length, random.below(3) === 0 ? 0 : 1 + random.below(255)),
    );
  }
}

const whole = async (image: OpenedImage) => Buffer.concat([await image.node.pread(0, SIZE)]);

async function made(
  name: string,
  format: 'raw' | 'qcow2',
  clusterSize: number,
): Promise<OpenedImage> {
  await createImage(host, at(name), format, { ...defaultCreateOptions, clusterSize, size: SIZE });
  return openImage(host, at(name), { format, readOnly: false });
}

withQemuImg(
  'images of every layout copied into every other',
  async () => {
    const random = new Random(11);
    for (let seed = 0; seed < 16; seed++) {
      const [from, to] = [formats[seed % 2], formats[(seed >> 1) % 2]];
      const [fromCluster, toCluster] = [512 << random.below(12), 512 << random.below(12)];
      const sparseBytes = [512, 4096, 65536, 12288, 1048576][random.below(5)];
      const source = await made('from', from, fromCluster);
      await scatter(source, random);
      const target = await made('to', to, toCluster);
      const held = seed % 3 === 0;
      if (held) await scatter(target, random);
      await copyImage(source.node, target.node, {
        unit: target.qcow2?.unit,
        targetIsZero: !held,
        sparseBytes,
        lanes: 1 + random.below(8),
      });
      const [wanted, got] = [await whole(source), await whole(target)];
      await source.close();
      await target.close();
      expectSame(got, wanted);
      if (to === 'qcow2')
        expect([seed, qemuImg('check', at('to'))]).toEqual([
          seed,
          expect.stringContaining('No errors'),
        ]);
      expect(qemuImg('compare', '-f', from, '-F', to, at('from'), at('to'))).toContain('identical');
    }
  },
  60_000,
);

withQemuImg(
  'a new image holds no more than the one that qemu-img makes of it',
  async () => {
    const source = await made('sparse', 'raw', 0);
    for (let n = 0; n < 40; n++)
      await source.node.pwrite(
        n * 131072,
        Buffer.alloc(65536 * (1 + (n % 2)), n % 5 === 0 ? 0 : n),
      );
    await source.close();
    const reader = await openImage(host, at('sparse'), { format: 'raw', readOnly: true });
    for (const format of formats) {
      const target = await made('ours', format, 65536);
      await copyImage(reader.node, target.node, {
        unit: target.qcow2?.unit,
        targetIsZero: true,
        sparseBytes: 4096,
        lanes: 8,
      });
      await target.close();
      qemuImg('convert', '-f', 'raw', '-O', format, at('sparse'), at('theirs'));
      const end = (name: string) =>
        (JSON.parse(qemuImg('check', '--output=json', at(name))) as Record<string, number>)[
          'image-end-offset'
        ];
      if (format === 'qcow2') expect(end('ours')).toBeLessThanOrEqual(end('theirs'));
      expect(statSync(at('ours')).blocks).toBeLessThanOrEqual(statSync(at('theirs')).blocks + 16);
    }
    await reader.close();
  },
  40_000,
);

test(
  'compare: the sector of the first difference, in data, in zeroes, beyond the end of one; ' +
    'nothing found where nothing is',
  async () => {
    const data = Buffer.alloc(3 * 1024 * KIB);
    for (let n = 0; n < data.length; n += 8192) data.fill(n % 251, n, n + 4096);
    const pairs: [Buffer, Buffer, number | undefined][] = [
      [data, data, undefined],
      [data, Buffer.concat([data, Buffer.alloc(4096)]), undefined],
    ];
    for (const wrong of [0, 1_048_577, data.length - 1]) {
      const other = Buffer.from(data);
      other[wrong] ^= 0x40;
      pairs.push([data, other, wrong - (wrong % 512)]);
    }
    pairs.push([
      data,
      Buffer.concat([data, Buffer.alloc(4096), Buffer.from('x'), Buffer.alloc(1000)]),
      data.length + 4096,
    ]);
    for (const [one, two, wanted] of pairs) {
      for (const format of formats) {
        for (const cache of ['writeback', 'none'] as const) {
          writeFileSync(at('one'), one);
          writeFileSync(at('two'), two);
          const files = { ...host, files: cachedAs(real.files, cache) };
          const a = await openImage(files, at('one'), { format: 'raw', readOnly: true });
          let b = await openImage(files, at('two'), { format: 'raw', readOnly: true });
          if (format === 'qcow2') {
            await createImage(host, at('q'), 'qcow2', {
              ...defaultCreateOptions,
              clusterSize: 4096,
              size: b.node.length,
            });
            const target = await openImage(host, at('q'), { format, readOnly: false });
            await copyImage(b.node, target.node, {
              unit: 4096,
              targetIsZero: true,
              sparseBytes: 4096,
              lanes: 2,
            });
            await target.close();
            await b.close();
            b = await openImage(files, at('q'), { format, readOnly: true });
          }
          expect([format, cache, await firstDifference(a.node, b.node)]).toEqual([
            format,
            cache,
            wanted,
          ]);
          expect(await firstDifference(b.node, a.node)).toBe(wanted);
          await a.close();
          await b.close();
        }
      }
    }
  },
  40_000,
);
