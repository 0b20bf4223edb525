/**
 * Goal: resize, commit and rebase keep internal snapshots and persistent bitmaps true, or refuse.
 * Method: images of qemu-img with both, our verbs on them, and qemu-img's view of what is left.
 * Skipped by name without qemu-img.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { commitImage } from '../../../src/block/tools/commit.js';
import { openImage } from '../../../src/block/image/open.js';
import { rebaseImage } from '../../../src/block/tools/rebase.js';
import { startCommit } from '../../../src/block/jobs/start-commit.js';
import { BlockLayer } from '../../../src/block/layer/layer.js';
import { parseDrive } from '../../../src/block/options/options.js';
import { pattern } from '../../support/block-host.js';
import { realHost } from '../../support/block-real-host.js';

const withQemuImg = spawnSync('sh', ['-c', 'command -v qemu-img']).status === 0 ? test : test.skip;
const dir = mkdtempSync(join(tmpdir(), 'colo-kept-'));
const at = (name: string) => join(dir, name);
afterAll(() => rmSync(dir, { recursive: true }));

const MiB = 1024 * 1024;
const qemuImg = (...args: string[]) => execFileSync('qemu-img', args).toString();
const create = (name: string, ...more: string[]) =>
  qemuImg('create', '-q', '-f', 'qcow2', ...more, at(name), '1M');

async function resize(name: string, length: number): Promise<void> {
  const image = await openImage(realHost, at(name), { readOnly: false });
  await image.node.resize(length).finally(() => image.close());
}

interface Info {
  'format-specific': { data: { bitmaps?: { name: string; flags: string[] }[] } };
}
const flagsOf = (name: string) =>
  (JSON.parse(qemuImg('info', '--output=json', at(name))) as Info)['format-specific'].data
    .bitmaps?.[0].flags;

withQemuImg(
  'resize: a snapshot of version 2 has no length of its own, one of version 3 has',
  async () => {
    create('v2', '-o', 'compat=0.10');
    create('v3');
    for (const name of ['v2', 'v3']) qemuImg('snapshot', '-c', 's', at(name));
    const before = readFileSync(at('v2'));
    await expect(resize('v2', 2 * MiB)).rejects.toThrow(
      "Can't resize a v2 image which has snapshots",
    );
    expect(readFileSync(at('v2')).equals(before)).toBe(true);
    await resize('v3', 2 * MiB);
    for (const name of ['v2', 'v3']) {
      qemuImg('snapshot', '-a', 's', at(name));
      expect(qemuImg('check', at(name))).toContain('No errors');
    }
  },
);

withQemuImg('resize: a bitmap has as many bits as it had', async () => {
  create('bits');
  qemuImg('bitmap', '--add', at('bits'), 'b');
  const before = readFileSync(at('bits'));
  for (const length of [2 * MiB, MiB / 2])
    await expect(resize('bits', length)).rejects.toThrow(
      "persistent bitmaps cannot change its length: 'b'",
    );
  expect(readFileSync(at('bits')).equals(before)).toBe(true);
});

withQemuImg('block_resize of a running VM: the same words', async () => {
  create('vm2', '-o', 'compat=0.10');
  qemuImg('snapshot', '-c', 's', at('vm2'));
  const layer = new BlockLayer(realHost);
  await layer.addDrive(parseDrive(`file=${at('vm2')},format=qcow2,id=d`));
  await expect(layer.resize('d', 2 * MiB)).rejects.toThrow(
    "Can't resize a v2 image which has snapshots",
  );
  await layer.close();
});

withQemuImg(
  'commit: a base whose bitmap would miss it is refused, by the tool and by the job',
  async () => {
    create('base');
    qemuImg('bitmap', '--add', at('base'), 'b');
    create('top', '-b', 'base', '-F', 'qcow2');
    const image = await openImage(realHost, at('top'), { readOnly: false });
    await image.node.pwrite(0, pattern(65536));
    await expect(commitImage(image, { keep: false })).rejects.toThrow(
      "persistent bitmaps, which would miss what is committed into it: 'b'",
    );
    await image.close();
    const layer = new BlockLayer(realHost);
    await layer.addDrive(parseDrive(`file=${at('top')},format=qcow2,id=d`));
    await expect(startCommit(layer.startContext, { device: 'd' })).rejects.toThrow(
      'persistent bitmaps',
    );
    await layer.close();
    expect(flagsOf('base')).toEqual(['auto']);
  },
);

withQemuImg('rebase: the image reads as before, so its bitmaps stay true', async () => {
  create('old');
  create('over', '-b', 'old', '-F', 'qcow2');
  qemuImg('bitmap', '--add', at('over'), 'b');
  const below = await openImage(realHost, at('old'), { readOnly: false });
  await below.node.pwrite(0, pattern(65536));
  await below.close();
  const image = await openImage(realHost, at('over'), { readOnly: false });
  await rebaseImage(image, undefined, undefined);
  await image.close();
  expect(flagsOf('over')).toEqual(['auto']);
  expect(qemuImg('check', at('over'))).toContain('No errors');
  const again = await openImage(realHost, at('over'), { readOnly: false });
  expect((await again.node.pread(0, 65536)).equals(pattern(65536))).toBe(true);
  await again.node.pwrite(0, pattern(512, 2));
  await again.close();
  expect(flagsOf('over')).toEqual(['in-use', 'auto']);
});
