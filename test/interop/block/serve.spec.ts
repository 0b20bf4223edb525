/**
 * Goal: a qcow2 image behind our server is a disk like any other. Method: `colo nbd serve` as a
 * process; nbdinfo, fio with verification and nbdcopy as clients, qemu-img on the file afterwards.
 * Skipped by name where a program is missing.
 */
import { execFile, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);
const dev = fileURLToPath(new URL('../../../bin/dev.js', import.meta.url));
const needed = ['qemu-img', 'nbdinfo', 'nbdcopy', 'fio'];
const missing = needed.filter(
  program => spawnSync('sh', ['-c', `command -v ${program}`]).status !== 0,
);

(missing.length > 0 ? test.skip : test)(
  'nbd serve of qcow2: map, random writes with verification, a copy, a clean ' +
    `end${missing.length > 0 ? ` (without ${missing.join(', ')})` : ''}`,
  async () => {
    const dir = await mkdtemp(join(tmpdir(), 'colo-serve-'));
    const [image, socket] = [join(dir, 'a.qcow2'), join(dir, 'sock')];
    const uri = `nbd+unix:///?socket=${socket}`;
    await run('qemu-img', ['create', '-q', '-f', 'qcow2', '-o', 'cluster_size=4k', image, '64M']);
    const env = { ...process.env, NODE_OPTIONS: '' };
    const server = spawn(
      process.execPath,
      [
        '--import',
        'tsx',
        '--disable-warning=ExperimentalWarning',
        dev,
        'nbd',
        'serve',
        image,
        '--socket',
        socket,
        '--json',
      ],
      { env, stdio: ['ignore', 'pipe', 'inherit'] },
    );
    const ended = new Promise<number | null>(resolve => server.once('exit', resolve));
    try {
      const [line] = (await once(server.stdout, 'data')) as [Buffer];
      expect(JSON.parse(line.toString())).toEqual({
        file: image,
        format: 'qcow2',
        export: '',
        'read-only': false,
        tls: false,
        address: { kind: 'unix', path: socket },
        uri: expect.stringMatching(/^nbd\+unix:\/\/\/\?socket=/),
      });
      expect(
        (await run('nbdinfo', ['--size', (JSON.parse(line.toString()) as { uri: string }).uri]))
          .stdout,
      ).toBe(`${64 << 20}\n`);
      expect(JSON.parse((await run('nbdinfo', ['--json', '--map', uri])).stdout)).toEqual([
        { offset: 0, length: 64 << 20, type: 3, description: 'hole,zero' },
      ]);
      await run(
        'fio',
        [
          '--name=j',
          '--ioengine=nbd',
          `--uri=${uri}`,
          '--rw=randwrite',
          '--bsrange=512-64k',
          '--bs_unaligned=0',
          '--size=64M',
          '--io_size=8M',
          '--iodepth=16',
          '--verify=crc32c',
          '--randseed=1',
        ],
        { cwd: dir },
      );
      await run('nbdcopy', [uri, join(dir, 'copy')]);
      const map = JSON.parse((await run('nbdinfo', ['--json', '--map', uri])).stdout) as {
        length: number;
      }[];
      expect(map.length).toBeGreaterThan(10);
      expect(map.reduce((sum, { length }) => sum + length, 0)).toBe(64 << 20);
    } finally {
      server.kill('SIGTERM');
      await ended;
    }
    expect(await ended).toBe(0);
    expect((await run('qemu-img', ['check', image])).stdout).toContain('No errors were found');
    expect(
      (await run('qemu-img', ['compare', '-f', 'qcow2', '-F', 'raw', image, join(dir, 'copy')]))
        .stdout,
    ).toContain('identical');
    await rm(dir, { recursive: true });
  },
  60_000,
);
