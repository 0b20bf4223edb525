/**
 * Goal: what our jobs leave behind is what others' programs take for good: the mirror that a rejoin
 * needs, onto an export of qemu-nbd while the guest writes; a backup, a commit and a stream of
 * images that qemu-img made. Method: real files; qemu-img checks and compares.
 */
import { execFile, spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, open, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { startCommit, startStream } from '../../../src/block/jobs/start-commit.js';
import { startBackup, startMirror } from '../../../src/block/jobs/start.js';
import { BlockLayer } from '../../../src/block/layer/layer.js';
import { parseDrive } from '../../../src/block/options/options.js';
import { pattern } from '../../support/block-host.js';
import { realHost } from '../../support/block-real-host.js';

const run = promisify(execFile);
const withQemu =
  spawnSync('sh', ['-c', 'command -v qemu-img qemu-nbd qemu-io']).status === 0 ? test : test.skip;
const MiB = 1024 * 1024;
const SIZE = 16 * MiB;
const sleep = (ms: number) => new Promise(resolve => setTimeout(resolve, ms));

let dir: string;
let layer: BlockLayer;
let served: ChildProcess | undefined;
const at = (name: string) => join(dir, name);
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'colo-jobs-'));
  layer = new BlockLayer(realHost);
});
afterEach(async () => {
  await layer.close();
  served?.kill();
  served = undefined;
  await rm(dir, { recursive: true });
});
const qemuImg = async (...args: string[]) => (await run('qemu-img', args)).stdout;

async function guestOf(options: string) {
  await layer.addDrive(parseDrive(options));
  return layer.claim('d0', 'disk0');
}

async function until(what: () => boolean) {
  for (let n = 0; !what(); n++) {
    if (n > 2000) throw new Error(`it never came about: ${JSON.stringify(layer.jobs.query())}`);
    await sleep(5);
  }
}
const info = () => layer.jobs.query()[0];

withQemu(
  'drive-mirror sync=full to nbd://S/parent0 while the guest writes: equal, whoever looks',
  async () => {
    await writeFile(at('p.img'), pattern(SIZE));
    await writeFile(at('s.img'), Buffer.alloc(SIZE));
    served = spawn('qemu-nbd', ['-t', '-x', 'parent0', '-f', 'raw', '-k', at('sock'), at('s.img')]);
    await until(() => existsSync(at('sock')));
    const quorum =
      'driver=quorum,read-pattern=fifo,vote-threshold=1,children.0.driver=raw,' +
      `children.0.file.filename=${at('p.img')}`;
    const guest = await guestOf(`if=virtio,id=d0,${quorum}`);
    await startMirror(layer.startContext, {
      device: 'd0',
      jobId: 'resync',
      sync: 'full',
      target: {
        target: `nbd+unix:///parent0?socket=${at('sock')}`,
        mode: 'existing',
        format: 'raw',
      },
    });
    let writes = 0;
    let writing = true;
    const guestRuns = (async () => {
      for (; writing; writes++)
        await guest.pwrite(((writes * 7919) % 4000) * 4096, pattern(4096, writes));
    })();
    await until(() => info().ready);
    await sleep(50);
    layer.jobs.get('resync').cancel();
    // What is written after the cancel may or may not be in the copy: the guest is stopped, as in
    // the procedure.
    writing = false;
    await guestRuns;
    await until(() => layer.jobs.query().length === 0);
    expect(writes).toBeGreaterThan(20);
    await guest.flush();
    await layer.close();
    served.kill();
    await new Promise(resolve => served!.once('exit', resolve));
    expect(await qemuImg('compare', '-f', 'raw', '-F', 'raw', at('p.img'), at('s.img'))).toContain(
      'identical',
    );
  },
  30_000,
);

async function chain() {
  await qemuImg('create', '-q', '-f', 'qcow2', at('base'), String(SIZE));
  await run('qemu-io', ['-c', 'write -P 1 0 8M', at('base')]);
  await qemuImg('create', '-q', '-f', 'qcow2', '-b', 'base', '-F', 'qcow2', at('mid'));
  await run('qemu-io', ['-c', 'write -P 2 1M 2M', '-c', 'write -z 6M 1M', at('mid')]);
  await qemuImg('create', '-q', '-f', 'qcow2', '-b', 'mid', '-F', 'qcow2', at('top'));
  await run('qemu-io', ['-c', 'write -P 3 2M 2M', at('top')]);
  await qemuImg('convert', '-O', 'raw', at('top'), at('flat'));
  return guestOf(`id=d0,file=${at('top')},format=qcow2`);
}

withQemu(
  'backup sync=top: the new image names the same backing file, and reads as the disk did',
  async () => {
    const guest = await chain();
    await startBackup(layer.startContext, {
      device: 'd0',
      sync: 'top',
      speed: 8 * MiB,
      target: { target: at('backup'), mode: 'absolute-paths' },
    });
    await until(() => info().offset > 0);
    await guest.pwrite(2 * MiB + 4096, pattern(MiB, 9));
    await until(() => layer.jobs.query().length === 0);
    await layer.close();
    expect(await qemuImg('info', at('backup'))).toMatch(/backing file: mid/);
    expect(await qemuImg('compare', at('backup'), at('flat'))).toContain('identical');
    expect(await qemuImg('check', at('backup'))).toContain('No errors');
  },
);

withQemu.each([
  ['a file with holes smaller than a cluster', 'raw'],
  ['a chain of images', 'qcow2'],
])('backup of %s, packed', async (_, format) => {
  if (format === 'raw') {
    const file = await open(at('flat'), 'w');
    await file.truncate(SIZE);
    for (let n = 0; n < 100; n++) await file.write(Buffer.alloc(4096, n + 1), 0, 4096, n * 40960);
    await file.close();
    await run('cp', ['--sparse=always', at('flat'), at('disk')]);
  }
  const guest =
    format === 'raw' ? await guestOf(`id=d0,file=${at('disk')},format=raw`) : await chain();
  await startBackup(layer.startContext, {
    device: 'd0',
    sync: 'full',
    speed: 8 * MiB,
    compress: true,
    target: { target: at('backup'), format: 'qcow2', mode: 'absolute-paths' },
  });
  await until(() => info().offset > 0);
  await guest.pwrite(2 * MiB + 4096, pattern(MiB, 9));
  await until(() => layer.jobs.query().length === 0);
  await layer.close();
  expect(await qemuImg('compare', at('backup'), at('flat'))).toContain('identical');
  const check = await qemuImg('check', at('backup'));
  expect(check).toContain('No errors');
  expect(Number(/([0-9.]+)% compressed/.exec(check)?.[1])).toBeGreaterThan(95);
});

withQemu.each(['middle', 'active', 'stream'])('a chain made shorter: %s', async what => {
  await chain();
  const common = { device: 'd0' };
  await (what === 'stream'
    ? startStream(layer.startContext, common)
    : startCommit(layer.startContext, what === 'middle' ? { ...common, top: at('mid') } : common));
  await until(
    () =>
      (info()?.ready ? void layer.jobs.get('d0').complete() : undefined) ?? info() === undefined,
  );
  await layer.close();
  const disk = what === 'active' ? 'base' : 'top';
  const about = await qemuImg('info', at(disk));
  expect(/backing file: (\S+)/.exec(about)?.[1]).toBe(what === 'middle' ? 'base' : undefined);
  expect(await qemuImg('compare', at(disk), at('flat'))).toContain('identical');
  for (const name of [disk, 'base'])
    expect(await qemuImg('check', at(name))).toContain('No errors');
});
