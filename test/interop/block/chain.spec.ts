/**
 * Goal: what `colo image` says of a chain is what qemu-img says, to the letter, and a rebased image
 * reads as before. Method: random chains on real files; qemu-img maps, checks and compares.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { appendFileSync, copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { defaultCreateOptions } from '../../../src/block/drivers/qcow2/create.js';
import { copyImage } from '../../../src/block/tools/copy.js';
import { cachedAs } from '../../../src/block/tools/files.js';
import { mapImage, mapJson, mapLines } from '../../../src/block/tools/map.js';
import { createImage, openImage } from '../../../src/block/image/open.js';
import { rebaseImage } from '../../../src/block/tools/rebase.js';
import { nodeHost } from '../../../src/host/node/host.js';
import { Random } from '../../support/random.js';

const withQemuImg = spawnSync('sh', ['-c', 'command -v qemu-img']).status === 0 ? test : test.skip;
const dir = mkdtempSync(join(tmpdir(), 'colo-chain-'));
const at = (name: string) => join(dir, name);
afterAll(() => rmSync(dir, { recursive: true }));

const KIB = 1024;
const real = nodeHost();
const host = { ...real, files: cachedAs(real.files, 'unsafe') };
const qemuImg = (...args: string[]) => execFileSync('qemu-img', args, { stdio: 'pipe' }).toString();

/** Data, zeroes, compressed clusters. */
async function make(
  name: string,
  random: Random,
  size: number,
  backing?: { file: string; format: string },
  plain = false,
): Promise<void> {
  const clusterSize = 4096 << random.below(5);
  await createImage(host, at(name), 'qcow2', {
    ...defaultCreateOptions,
    clusterSize,
    size,
    ...(backing && { backingFile: backing.file, backingFormat: backing.format }),
  });
  const image = await openImage(host, at(name), { format: 'qcow2', readOnly: false });
  for (let n = 0; n < 12; n++) {
    const offset = random.below(size / 512) * 512;
    const length = Math.min(512 * (1 + random.below(200)), size - offset);
    if (n % 3 === 0) await image.node.writeZeroes(offset, length);
    else await image.node.pwrite(offset, Buffer.alloc(length, random.below(4)));
    const cluster = random.below(Math.floor(size / clusterSize)) * clusterSize;
    if (n % 4 === 0 && !plain)
      await image.qcow2!.writeCompressed(cluster, Buffer.alloc(clusterSize, 1 + n));
  }
  await image.close();
}

async function lines(made: AsyncIterable<string>): Promise<string> {
  let text = '';
  for await (const line of made) text += `${line}\n`;
  return text;
}

withQemuImg(
  'map: the text of qemu-img, for chains of three images',
  async () => {
    const random = new Random(3);
    for (let seed = 0; seed < 8; seed++) {
      const plain = seed % 2 === 0;
      await make('base', random, 600 * KIB, undefined, plain);
      qemuImg('convert', '-O', 'raw', at('base'), at('raw'));
      await make(
        'mid',
        random,
        1024 * KIB,
        seed % 3 === 0 ? { file: 'raw', format: 'raw' } : { file: 'base', format: 'qcow2' },
        plain,
      );
      await make(
        'top',
        random,
        (seed % 4 === 1 ? 800 : 1500) * KIB,
        { file: 'mid', format: 'qcow2' },
        plain,
      );
      for (const [name, format] of [
        ['top', 'qcow2'],
        ['mid', 'qcow2'],
        ['raw', 'raw'],
      ]) {
        const image = await openImage(host, at(name), { format, readOnly: true });
        const end = image.node.length;
        const wanted = (...flags: string[]) => qemuImg('map', '-f', format, ...flags, at(name));
        expect([seed, name, await lines(mapJson(mapImage(image.node, 0, end)))]).toEqual([
          seed,
          name,
          wanted('--output=json'),
        ]);
        expect(await lines(mapJson(mapImage(image.node, 100_000, 300_000)))).toBe(
          wanted('--output=json', '--start-offset', '100000', '--max-length', '200000'),
        );
        if (plain) expect(await lines(mapLines(mapImage(image.node, 0, end)))).toBe(wanted());
        await image.close();
      }
    }
  },
  60_000,
);

withQemuImg(
  'rebase: to another image, a shorter one, none, and from none: every byte stays',
  async () => {
    const random = new Random(7);
    for (let seed = 0; seed < 6; seed++) {
      await make('old', random, 900 * KIB);
      await make('new', random, (seed % 2 ? 500 : 1200) * KIB);
      await make(
        'image',
        random,
        1000 * KIB,
        seed % 3 === 2 ? undefined : { file: 'old', format: 'qcow2' },
      );
      qemuImg('convert', '-O', 'raw', at('image'), at('before'));
      const image = await openImage(host, at('image'), { format: 'qcow2', readOnly: false });
      const target =
        seed % 3 === 1
          ? undefined
          : await openImage(host, at('new'), { format: 'qcow2', readOnly: true });
      await rebaseImage(image, target?.node, target && { name: 'new', format: 'qcow2' });
      await image.close();
      await target?.close();
      expect([
        seed,
        qemuImg('compare', '-f', 'raw', '-F', 'qcow2', at('before'), at('image')),
      ]).toEqual([seed, 'Images are identical.\n']);
      expect(qemuImg('check', at('image'))).toContain('No errors');
      const { 'backing-filename': name, 'backing-filename-format': format } = JSON.parse(
        qemuImg('info', '--output=json', at('image')),
      ) as Record<string, unknown>;
      expect([name, format]).toEqual(target ? ['new', 'qcow2'] : [undefined, undefined]);
    }
  },
  60_000,
);

withQemuImg(
  'convert onto a backing file: the top image alone is copied, and every byte reads as before',
  async () => {
    const random = new Random(13);
    for (let seed = 0; seed < 12; seed++) {
      const size = (seed % 3 === 0 ? 800 : 1000) * KIB;
      await make('base', random, 900 * KIB + 512);
      await make('source', random, size, { file: 'base', format: 'qcow2' });
      if (seed % 4 === 0) qemuImg('convert', '-O', 'raw', at('base'), at('below'));
      if (seed % 4 === 0)
        // longer than what was below the source
        appendFileSync(at('below'), Buffer.alloc(200 * KIB, 7));
      else copyFileSync(at('base'), at('below'));
      const clusterSize = 4096 << random.below(5);
      await createImage(host, at('target'), 'qcow2', {
        ...defaultCreateOptions,
        clusterSize,
        size,
        backingFile: 'below',
        backingFormat: seed % 4 === 0 ? 'raw' : 'qcow2',
      });
      const source = await openImage(host, at('source'), { format: 'qcow2', readOnly: true });
      const target = await openImage(host, at('target'), { format: 'qcow2', readOnly: false });
      const compress = seed % 5 === 4 ? target.qcow2 : undefined;
      await copyImage(source.node, target.node, {
        unit: target.qcow2!.unit,
        targetIsZero: false,
        below: source.node.children.get('backing'),
        sparseBytes: [0, 4096, 65536][compress ? 1 : seed % 3],
        lanes: 4,
        compress,
      });
      await source.close();
      await target.close();
      expect([seed, qemuImg('compare', at('source'), at('target'))]).toEqual([
        seed,
        'Images are identical.\n',
      ]);
      expect(qemuImg('check', at('target'))).toContain('No errors');
      const held = (name: string) =>
        (
          JSON.parse(qemuImg('map', '--output=json', at(name))) as {
            depth: number;
            length: number;
          }[]
        )
          .filter(part => part.depth === 0)
          .reduce((sum, part) => sum + part.length, 0);
      // A cluster that is in part the source's is whole here.
      if (seed % 3 === 0)
        expect(held('target')).toBeLessThanOrEqual(held('source') + 2 * 24 * clusterSize);
    }
  },
  60_000,
);

withQemuImg(
  'rebase and map as commands: messages, exit codes, -u, the image as its own backing file',
  async () => {
    const dev = fileURLToPath(new URL('../../../bin/dev.js', import.meta.url));
    const colo = (...args: string[]) => {
      const { stdout, stderr, status } = spawnSync(
        process.execPath,
        ['--import', 'tsx', '--disable-warning=ExperimentalWarning', dev, 'image', ...args],
        { env: { ...process.env, NODE_OPTIONS: '' }, encoding: 'utf8' },
      );
      return { out: stdout, err: stderr, code: status };
    };
    await make('own', new Random(1), 512 * KIB, undefined, false);
    copyFileSync(at('own'), at('copy'));
    expect(colo('map', at('own'))).toMatchObject({
      code: 1,
      err: expect.stringContaining('encrypted or compressed clusters'),
    });
    expect(colo('rebase', '-b', 'copy', at('own'))).toMatchObject({
      code: 1,
      err: expect.stringContaining('backing format must be specified'),
    });
    expect(colo('rebase', '-b', 'missing', '-F', 'raw', at('own'))).toMatchObject({
      code: 1,
      err: expect.stringContaining("Could not open new backing file 'missing'"),
    });
    expect(colo('rebase', '-b', 'own', '-F', 'qcow2', at('own')).code).toBe(1);
    expect(colo('rebase', '-u', '-b', 'copy', '-F', 'qcow2', at('own'))).toEqual({
      code: 0,
      out: '',
      err: '',
    });
    expect(JSON.parse(qemuImg('info', '--output=json', at('own')))).toMatchObject({
      'backing-filename': 'copy',
    });
    expect(
      colo('convert', '-O', 'qcow2', '-B', 'copy', '-F', 'qcow2', at('own'), at('onto')),
    ).toEqual({ code: 0, out: '', err: '' });
    expect(JSON.parse(qemuImg('info', '--output=json', at('onto')))).toMatchObject({
      'backing-filename': 'copy',
      'backing-filename-format': 'qcow2',
    });
    expect(qemuImg('compare', at('own'), at('onto'))).toContain('identical');
    expect(colo('convert', '-O', 'qcow2', '-B', 'copy', at('own'), at('onto'))).toMatchObject({
      code: 2,
      err: expect.stringContaining('backing format'),
    });
    expect(
      colo('convert', '-O', 'raw', '-B', 'copy', '-F', 'qcow2', at('own'), at('onto')),
    ).toMatchObject({ code: 2, err: expect.stringContaining('has no backing file') });
    expect(JSON.parse(colo('map', '--json', at('own')).out)).toEqual(
      JSON.parse(qemuImg('map', '--output=json', at('own'))),
    );
  },
  60_000,
);
