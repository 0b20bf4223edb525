/**
 * Goal: our NBD speaks with the programs that others use. Method: our server driven by qemu-io,
 * qemu-img, nbdinfo and nbdcopy; our client against qemu-nbd. Each program that is not installed is
 * skipped by its name.
 */
import { execFile, spawn, spawnSync } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { BlockLayer } from '../../../src/block/layer/layer.js';
import { NbdClient } from '../../../src/block/nbd/client.js';
import { NbdCmd } from '../../../src/block/nbd/codec.js';
import { parseDrive } from '../../../src/block/options/options.js';
import { expectSame, pattern } from '../../support/block-host.js';
import { realHost } from '../../support/block-real-host.js';

const run = promisify(execFile);
const installed = (program: string) =>
  spawnSync('sh', ['-c', `command -v ${program}`]).status === 0;
const withProgram = (program: string) => (installed(program) ? test : test.skip);
const SIZE = 2 * 1024 * 1024;

let dir: string;
let layer: BlockLayer;
let uri: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'colo-nbd-'));
  await writeFile(join(dir, 'a.img'), pattern(SIZE));
  layer = new BlockLayer(realHost);
  await layer.addDrive(parseDrive(`file=${dir}/a.img,format=raw,id=disk,if=none`));
  await layer.nbd.start({ kind: 'unix', path: join(dir, 'sock') });
  layer.nbdServerAdd({ device: 'disk', writable: true });
  layer.nbdServerAdd({ device: 'disk', name: 'readable' });
  uri = `nbd+unix:///disk?socket=${dir}/sock`;
});
afterEach(async () => {
  await layer.close();
  await rm(dir, { recursive: true });
});

withProgram('qemu-io')(
  'our server, qemu-io: reads, writes, zeroes, discards, flushes, FUA, unaligned',
  async () => {
    const commands = [
      'write -P 0x11 64k 64k',
      'write -f -P 0x22 128k 4k',
      'write -z 256k 64k',
      'discard 512k 64k',
      'aio_write -P 0x33 1M 256k',
      'aio_flush',
      'flush',
      'read -P 0x11 64k 64k',
      'read -P 0x22 128k 4k',
      'read -P 0 256k 64k',
      'read -P 0 512k 64k',
      'write -P 0x44 1000 10',
      'read -P 0x44 1000 10',
      'read -P 0x33 1M 256k',
    ];
    const { stdout } = await run('qemu-io', [
      '-f',
      'raw',
      ...commands.flatMap(c => ['-c', c]),
      uri,
    ]);
    expect(stdout).not.toMatch(/fail|error|verification/i);
    const expected = pattern(SIZE);
    expected
      .fill(0x11, 65536, 131072)
      .fill(0x22, 131072, 135168)
      .fill(0, 262144, 327680)
      .fill(0, 524288, 589824)
      .fill(0x44, 1000, 1010)
      .fill(0x33, 1 << 20, (1 << 20) + 262144);
    expectSame(await readFile(join(dir, 'a.img')), expected);
  },
);

withProgram('qemu-io')(
  'our server, qemu-io: a read-only export refuses to be opened for writing, and is read',
  async () => {
    const readable = uri.replace('/disk', '/readable');
    await expect(run('qemu-io', ['-f', 'raw', '-c', 'write 0 512', readable])).rejects.toThrow();
    const { stdout } = await run('qemu-io', ['-r', '-f', 'raw', '-c', 'read 0 64k', readable]);
    expect(stdout).toContain('read 65536/65536');
    expectSame(await readFile(join(dir, 'a.img')), pattern(SIZE));
  },
);

withProgram('qemu-img')('our server, qemu-img: compares and converts', async () => {
  expect(
    (await run('qemu-img', ['compare', '-f', 'raw', '-F', 'raw', uri, `${dir}/a.img`])).stdout,
  ).toContain('identical');
  await run('qemu-img', ['convert', '-f', 'raw', '-O', 'raw', uri, `${dir}/copy.img`]);
  expectSame(await readFile(join(dir, 'copy.img')), pattern(SIZE));
});

withProgram('nbdinfo')('our server, nbdinfo: lists the exports and describes one', async () => {
  const list = JSON.parse((await run('nbdinfo', ['--list', '--json', uri])).stdout) as {
    exports: Record<string, unknown>[];
  };
  expect(list.exports.map(e => e['export-name'])).toEqual(['disk', 'readable']);
  expect(list.exports[0]).toMatchObject({
    'export-size': SIZE,
    is_read_only: false,
    can_flush: true,
    can_fua: true,
    can_trim: true,
    can_zero: true,
    can_multi_conn: true,
    block_size_maximum: 32 * 1024 * 1024,
  });
  expect(list.exports[1]).toMatchObject({ is_read_only: true });
});

withProgram('nbdcopy')('our server, nbdcopy: four connections, many requests', async () => {
  await run('nbdcopy', ['--connections=4', '--requests=64', uri, `${dir}/out.img`]);
  expectSame(await readFile(join(dir, 'out.img')), pattern(SIZE));
  await writeFile(join(dir, 'in.img'), pattern(SIZE, 9));
  await run('nbdcopy', ['--flush', `${dir}/in.img`, uri]);
  expectSame(await readFile(join(dir, 'a.img')), pattern(SIZE, 9));
});

withProgram('qemu-nbd')(
  'our client, qemu-nbd: reads, writes, zeroes, trims, flushes',
  async () => {
    await writeFile(join(dir, 'b.img'), pattern(SIZE, 3));
    const server = spawn(
      'qemu-nbd',
      [
        '--persistent',
        '-f',
        'raw',
        '-x',
        'theirs',
        '-k',
        `${dir}/theirs`,
        '--discard=unmap',
        `${dir}/b.img`,
      ],
      { stdio: 'ignore' },
    );
    const gone = new Promise(resolve => server.once('exit', resolve));
    try {
      const client = await connectWhenReady('theirs');
      expect(client.info.size).toBe(SIZE);
      expectSame(
        await client.request(NbdCmd.READ, 0, 512, SIZE - 512),
        pattern(SIZE, 3).subarray(512),
      );
      await Promise.all(
        Array.from({ length: 100 }, (_, n) =>
          client.request(NbdCmd.WRITE, n % 2, n * 4096, 4096, pattern(4096, n)),
        ),
      );
      await client.request(NbdCmd.WRITE_ZEROES, 0, 1 << 20, 65536);
      await client.request(NbdCmd.TRIM, 0, SIZE - 65536, 65536);
      await client.request(NbdCmd.FLUSH, 0, 0, 0);
      expectSame(
        await client.request(NbdCmd.READ, 0, 0, 4096 * 100),
        Buffer.concat(Array.from({ length: 100 }, (_, n) => pattern(4096, n))),
      );
      expectSame(await client.request(NbdCmd.READ, 0, 1 << 20, 65536), Buffer.alloc(65536));
      await expect(client.request(NbdCmd.READ, 0, SIZE, 512)).rejects.toThrow('error 22');
      client.close();
      await expect(connectWhenReady('wrong')).rejects.toThrow("no export 'wrong'");
    } finally {
      server.kill();
      await gone;
    }
  },
  20_000,
);

async function connectWhenReady(exportName: string): Promise<NbdClient> {
  const address = { kind: 'unix', path: join(dir, 'theirs') } as const;
  for (let tries = 0; ; tries++) {
    try {
      return await NbdClient.connect(realHost, {
        address,
        exportName,
        connectTimeoutMs: 2000,
        requestTimeoutMs: 5000,
      });
    } catch (error) {
      const code = ((error as Error).cause as { code?: string } | undefined)?.code;
      if (tries > 100 || (code !== 'ENOENT' && code !== 'ECONNREFUSED')) throw error;
      await new Promise(resolve => setTimeout(resolve, 50));
    }
  }
}
