/**
 * Goal: `colo image` does what qemu-img does, down to exit codes. Method: the real process on real
 * files; qemu-img checks and compares what it made, and makes what it reads. What needs qemu-img is
 * skipped by name without it.
 */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { pattern } from '../../support/block-host.js';

const dev = fileURLToPath(new URL('../../../bin/dev.js', import.meta.url));
const withQemuImg = spawnSync('sh', ['-c', 'command -v qemu-img']).status === 0 ? test : test.skip;
const dir = mkdtempSync(join(tmpdir(), 'colo-image-'));
const at = (name: string) => join(dir, name);
afterAll(() => rmSync(dir, { recursive: true }));

function colo(...args: string[]): Promise<{ out: string; err: string; code: number | null }> {
  const child = spawn(
    process.execPath,
    ['--import', 'tsx', '--disable-warning=ExperimentalWarning', dev, 'image', ...args],
    { env: { ...process.env, NODE_OPTIONS: '', FORCE_COLOR: undefined } },
  );
  const result = { out: '', err: '', code: null as number | null };
  child.stdout.on('data', (bytes: Buffer) => (result.out += bytes.toString()));
  child.stderr.on('data', (bytes: Buffer) => (result.err += bytes.toString()));
  return new Promise(resolve => child.once('close', code => resolve({ ...result, code })));
}
const qemuImg = (...args: string[]) => execFileSync('qemu-img', args).toString();
const SIZE = 1024 * 1024;

withQemuImg(
  'create, info, resize, as qemu-img would',
  async () => {
    expect(
      (await colo('create', '-f', 'qcow2', '-o', 'cluster_size=4k,refcount_bits=8', at('a'), '10M'))
        .code,
    ).toBe(0);
    await Promise.all([
      colo('create', '-u', '-f', 'qcow2', '-b', 'a', '-F', 'qcow2', at('b'), '10M'),
      colo('resize', at('a'), '+5M'),
    ]);
    for (const name of ['a', 'b'])
      expect(qemuImg('check', at(name))).toContain('No errors were found');
    const theirs = JSON.parse(qemuImg('info', '--output=json', at('b'))) as Record<string, unknown>;
    const ours = JSON.parse((await colo('info', '--output=json', at('b'))).out) as Record<
      string,
      unknown
    >;
    for (const key of [
      'virtual-size',
      'format',
      'cluster-size',
      'backing-filename',
      'full-backing-filename',
      'backing-filename-format',
      'actual-size',
      'format-specific',
    ])
      expect([key, ours[key]]).toEqual([key, theirs[key]]);
  },
  40_000,
);

withQemuImg(
  'convert and compare; exit codes of compare and check',
  async () => {
    writeFileSync(at('raw'), pattern(SIZE));
    writeFileSync(at('plain'), Buffer.alloc(SIZE, 'text of the same kind again and again '));
    const made = await Promise.all([
      colo('convert', '-O', 'qcow2', at('raw'), at('q')),
      colo('convert', '-c', '-O', 'qcow2', at('plain'), at('c')),
    ]);
    expect(made.map(({ code }) => code)).toEqual([0, 0]);
    for (const [a, b] of [
      ['raw', 'q'],
      ['plain', 'c'],
    ])
      expect(qemuImg('compare', at(a), at(b))).toContain('identical');
    expect(qemuImg('check', at('c'))).toContain('100.00% compressed');
    const compared = await Promise.all([
      colo('compare', at('raw'), at('q')),
      colo('compare', at('raw'), at('c')),
      colo('compare', at('raw'), at('missing')),
      colo('check', at('raw')),
    ]);
    expect(compared.slice(0, 2)).toEqual([
      { out: 'Images are identical.\n', err: '', code: 0 },
      { out: 'Content mismatch at offset 0!\n', err: '', code: 1 },
    ]);
    expect(compared.map(({ code }) => code)).toEqual([0, 1, 2, 63]);
  },
  60_000,
);

withQemuImg(
  'convert and compare past the page cache',
  async () => {
    writeFileSync(at('odd'), pattern(SIZE + 123));
    expect(
      await colo(
        'convert',
        '-t',
        'none',
        '-T',
        'none',
        '-f',
        'raw',
        '-O',
        'qcow2',
        at('odd'),
        at('none'),
      ),
    ).toEqual({ out: '', err: '', code: 0 });
    expect(qemuImg('check', at('none'))).toContain('No errors');
    expect(qemuImg('compare', '-f', 'raw', '-F', 'qcow2', at('odd'), at('none'))).toContain(
      'identical',
    );
    expect(
      (await colo('convert', '-t', 'directsync', '-O', 'raw', at('none'), at('back'))).code,
    ).toBe(0);
    expect(
      await colo('compare', '-T', 'none', '-f', 'raw', '-F', 'raw', at('back'), at('odd')),
    ).toMatchObject({ code: 0 });
  },
  40_000,
);

withQemuImg(
  'check finds and repairs leaks, as qemu-img sees it',
  async () => {
    qemuImg('create', '-q', '-f', 'qcow2', '-o', 'lazy_refcounts=on', at('leaky'), '1M');
    const image = execFileSync('cat', [at('leaky')]);
    const refcountBlock = image.readUInt32BE(image.readUInt32BE(52) + 4);
    image.writeUInt16BE(1, refcountBlock + 20);
    writeFileSync(at('leaky'), Buffer.concat([image], 12 * 65536));
    expect(await colo('check', at('leaky'))).toMatchObject({
      code: 3,
      err: 'Leaked cluster 10 refcount=1 reference=0\n',
    });
    expect((await colo('check', '-r', 'leaks', at('leaky'))).code).toBe(0);
    expect(qemuImg('check', at('leaky'))).toContain('No errors');
  },
  40_000,
);
