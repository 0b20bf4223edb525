/**
 * Goal: our NBD client lives with the servers of others, slow, failing, sparse, strict and dying
 * ones. Method: nbdkit with its filters, and qemu-nbd killed and started again while writes are
 * under way. Skipped by name where a program is missing.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { DriveBackend } from '../../../src/block/backend/backend.js';
import { BlockLayer } from '../../../src/block/layer/layer.js';
import { parseDrive } from '../../../src/block/options/options.js';
import { nodeHost } from '../../../src/host/node/host.js';
import { expectSame, pattern } from '../../support/block-host.js';
import { Random } from '../../support/random.js';

const needed = ['nbdkit', 'qemu-nbd'];
const missing = needed.filter(
  program => spawnSync('sh', ['-c', `command -v ${program}`]).status !== 0,
);
const suite = missing.length > 0 ? describe.skip : describe;
const SIZE = 4 * 1024 * 1024;

suite(`our NBD client${missing.length > 0 ? ` (without ${missing.join(', ')})` : ''}`, () => {
  let dir: string;
  let layer: BlockLayer;
  let server: ChildProcess | undefined;
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'colo-client-'));
    layer = new BlockLayer(nodeHost());
  });
  afterEach(async () => {
    await layer.close();
    await stop('SIGTERM');
    await rm(dir, { recursive: true });
  });

  function start(program: string, ...args: string[]): void {
    server = spawn(program, args, { stdio: 'ignore' });
  }
  async function stop(signal: NodeJS.Signals): Promise<void> {
    const gone =
      server && server.exitCode === null && server.signalCode === null
        ? once(server, 'exit')
        : undefined;
    server?.kill(signal);
    await gone;
    await rm(join(dir, 'sock'), { force: true });
    server = undefined;
  }
  const nbdkit = (...args: string[]) => start('nbdkit', '-f', '-U', join(dir, 'sock'), ...args);
  const qemuNbd = (...args: string[]) =>
    start('qemu-nbd', '-t', '-f', 'raw', '-k', join(dir, 'sock'), ...args);
  const connect = (more = ''): Promise<DriveBackend> =>
    layer.addDrive(
      parseDrive(
        `file=nbd+unix:///?socket=${dir}/sock,format=raw,id=d,if=none,file.open-timeout=10${more}`,
      ),
    );

  test(
    'a slow server: requests overlap, and one that takes too long ends the link with a ' +
      'sentence',
    async () => {
      nbdkit('memory', '4M', '--filter=delay', 'rdelay=200ms');
      const disk = await connect(',file.x-request-timeout=1');
      const startMs = performance.now();
      await Promise.all(Array.from({ length: 14 }, (_, n) => disk.pread(n * 4096, 4096)));
      expect(performance.now() - startMs).toBeLessThan(14 * 200);
      await layer.driveDel('d');
      await stop('SIGTERM');
      nbdkit('memory', '4M', '--filter=delay', 'rdelay=30');
      const slow = await connect(',file.x-request-timeout=1');
      await expect(slow.pread(0, 512)).rejects.toThrow('no answer within 1000 ms');
      await stop('SIGKILL');
    },
  );

  test('a failing server: the errno arrives, and the link goes on', async () => {
    nbdkit(
      'memory',
      '4M',
      '--filter=error',
      'error-pwrite=ENOSPC',
      'error-pwrite-rate=100%',
      'error-pread=EIO',
      `error-pread-file=${dir}/fail`,
      'error-pread-rate=100%',
    );
    const disk = await connect();
    await expect(disk.pwrite(0, pattern(512))).rejects.toThrow('answers error 28');
    expectSame(await disk.pread(0, 512), Buffer.alloc(512));
    await writeFile(join(dir, 'fail'), '');
    await expect(disk.pread(0, 512)).rejects.toThrow('answers error 5');
    await rm(join(dir, 'fail'));
    expectSame(await disk.pread(0, 512), Buffer.alloc(512));
  });

  test('exitlast: the server leaves with us, and a link without reconnect says so', async () => {
    nbdkit('memory', '4M', '--filter=exitlast');
    const disk = await connect();
    await disk.pwrite(0, pattern(4096));
    expectSame(await disk.pread(0, 4096), pattern(4096));
    const gone = once(server!, 'exit');
    await layer.driveDel('d');
    await gone;
    await rm(join(dir, 'sock'), { force: true });
    await expect(
      layer.addDrive(parseDrive(`file=nbd+unix:///?socket=${dir}/sock,format=raw,id=e,if=none`)),
    ).rejects.toThrow('Failed to connect');
  }, 20_000);

  test(
    'a strict server: requests are cut to its longest, and a server of larger blocks is refused ' +
      'by name',
    async () => {
      nbdkit(
        'memory',
        '4M',
        '--filter=blocksize-policy',
        'blocksize-minimum=512',
        'blocksize-preferred=4096',
        'blocksize-maximum=65536',
        'blocksize-error-policy=error',
      );
      const disk = await connect();
      await disk.pwrite(512, pattern(SIZE - 512));
      expectSame(await disk.pread(512, SIZE - 512), pattern(SIZE - 512));
      await layer.driveDel('d');
      await stop('SIGTERM');
      nbdkit(
        'memory',
        '4M',
        '--filter=blocksize-policy',
        'blocksize-minimum=4096',
        'blocksize-maximum=65536',
      );
      await expect(connect()).rejects.toThrow('whole blocks of 4096 bytes only');
    },
  );

  test.each(['nbdkit', 'qemu-nbd'])(
    'a sparse image of %s: holes come as holes, and the status is known',
    async program => {
      const image = await open(join(dir, 'a.img'), 'w');
      await image.truncate(SIZE);
      for (const at of [65536, 1024 * 1024, 3 * 1024 * 1024 + 4096])
        await image.write(pattern(65536, at), 0, 65536, at);
      await image.close();
      if (program === 'nbdkit') nbdkit('file', join(dir, 'a.img'));
      else qemuNbd(join(dir, 'a.img'));
      const disk = await connect();
      expectSame(await disk.pread(0, SIZE), await readFile(join(dir, 'a.img')));
      expectSame(
        await disk.pread(60_000, 100_000),
        (await readFile(join(dir, 'a.img'))).subarray(60_000, 160_000),
      );
      const map: string[] = [];
      for (let at = 0; at < SIZE;) {
        const { length, zero } = await disk.node.blockStatus(at, SIZE - at);
        map.push(`${at / 1024}${zero ? ' zero' : ''}`);
        at += length;
      }
      expect(map).toEqual(['0 zero', '64', '128 zero', '1024', '1088 zero', '3076', '3140 zero']);
    },
  );

  test('qemu-nbd killed and started again, three times under load: no acknowledged write is lost', async () => {
    await writeFile(join(dir, 'a.img'), Buffer.alloc(SIZE));
    qemuNbd(join(dir, 'a.img'));
    const disk = await connect(',file.reconnect-delay=30');
    const random = new Random(7);
    const acknowledged = Buffer.alloc(SIZE);
    let writing = true;
    const writer = async (lane: number) => {
      for (let n = 0; writing; n++) {
        const at = (lane + 8 * random.below(SIZE / 4096 / 8)) * 4096;
        const data = pattern(4096, lane * 1000 + n);
        await disk.pwrite(at, data);
        acknowledged.set(data, at);
        if (n % 16 === 0) await disk.flush();
      }
    };
    const writers = Array.from({ length: 8 }, (_, lane) => writer(lane));
    for (let kill = 0; kill < 3; kill++) {
      await new Promise(resolve => setTimeout(resolve, 200 + random.below(200)));
      await stop('SIGKILL');
      qemuNbd(join(dir, 'a.img'));
    }
    await new Promise(resolve => setTimeout(resolve, 300));
    writing = false;
    await Promise.all(writers);
    expect(acknowledged.some(byte => byte !== 0)).toBe(true);
    expectSame(await disk.pread(0, SIZE), acknowledged);
    await disk.flush();
    expectSame(await readFile(join(dir, 'a.img')), acknowledged);
  }, 40_000);
});
