/**
 * Goal: a preallocated image is empty, sound, and has on the disk what was asked for. Method: every
 * mode, format and odd size; qemu-img checks, compares and maps, and makes the image that ours must
 * not fall behind.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseCreateOptions } from '../../../src/block/tools/create-options.js';
import { createImage, openImage } from '../../../src/block/image/open.js';
import { nodeHost } from '../../../src/host/node/host.js';

const withQemuImg = spawnSync('sh', ['-c', 'command -v qemu-img']).status === 0 ? test : test.skip;
const dir = mkdtempSync(join(tmpdir(), 'colo-preallocation-'));
const at = (name: string) => join(dir, name);
afterAll(() => rmSync(dir, { recursive: true }));

const MIB = 1024 * 1024;
const host = nodeHost();
const qemuImg = (...args: string[]) => execFileSync('qemu-img', args, { stdio: 'pipe' }).toString();
const onDisk = (name: string) => statSync(at(name)).blocks * 512;

const cases = [
  ['raw', 'falloc', 5 * MIB + 512, ''],
  ['raw', 'full', 5 * MIB + 512, ''],
  ['qcow2', 'metadata', 70 * MIB + 512, ''],
  ['qcow2', 'metadata', 3 * MIB, 'cluster_size=512,refcount_bits=64'],
  ['qcow2', 'falloc', 5 * MIB + 512, 'cluster_size=4k'],
  ['qcow2', 'full', 5 * MIB + 512, 'cluster_size=2M,refcount_bits=1'],
  ['qcow2', 'full', 3 * MIB, 'compat=0.10'],
] as const;

withQemuImg.each(cases)('%s %s of %d bytes %s', async (format, how, size, more) => {
  const options = [`preallocation=${how}`, ...(more === '' ? [] : [more])];
  await createImage(host, at('ours'), format, { ...parseCreateOptions(options, format), size });
  qemuImg('create', '-q', '-f', format, '-o', options.join(','), at('theirs'), String(size));
  expect(qemuImg('compare', '-f', format, '-F', format, at('ours'), at('theirs'))).toContain(
    'identical',
  );
  expect(onDisk('ours')).toBeGreaterThanOrEqual(how === 'metadata' ? 0 : size);
  if (how === 'metadata') expect(onDisk('ours')).toBeLessThan(2 * MIB);
  if (format === 'raw') return;
  const check = (name: string) =>
    JSON.parse(qemuImg('check', '--output=json', at(name))) as Record<string, number>;
  expect(check('ours')).toMatchObject({
    'check-errors': 0,
    'allocated-clusters': check('theirs')['allocated-clusters'],
  });
  expect(qemuImg('check', at('ours'))).toContain('No errors');
  const image = await openImage(host, at('ours'), { format, readOnly: false });
  await image.node.pwrite(size - 512, Buffer.alloc(512, 7));
  const length = image.file.length;
  await image.close();
  expect(statSync(at('ours')).size).toBe(length); // written where it was: no cluster is new
  expect(check('ours')['allocated-clusters']).toBe(check('theirs')['allocated-clusters']);
});

test('what cannot be: metadata of a raw image, another word, a backing file below', async () => {
  expect(() => parseCreateOptions(['preallocation=metadata'], 'raw')).toThrow(
    "parameter 'preallocation' takes off, falloc, full; not 'metadata'",
  );
  expect(() => parseCreateOptions(['preallocation=some'], 'qcow2')).toThrow(
    'takes off, metadata, falloc, full',
  );
  const given = parseCreateOptions(['preallocation=full,backing_file=x,backing_fmt=raw'], 'qcow2');
  await expect(createImage(host, at('none'), 'qcow2', { ...given, size: MIB })).rejects.toThrow(
    'exclude each other',
  );
  expect(() => statSync(at('none'))).toThrow('ENOENT');
});
