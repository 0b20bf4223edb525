/**
 * Goal: NBD over TLS with the programs of others, by certificates and by pre-shared keys, and a
 * plain refusal of a peer with the wrong ones. Method: credentials by certtool and psktool; our
 * server driven by nbdinfo, nbdcopy, qemu-img; our client against qemu-nbd and nbdkit. Skipped by
 * name where a program is missing.
 */
import { execFile, spawn, spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { BlockLayer } from '../../../src/block/layer/layer.js';
import { parseDrive } from '../../../src/block/options/options.js';
import { nodeHost } from '../../../src/host/node/host.js';
import type { TlsCredentials } from '../../../src/host/ports.js';
import { loadPsk, loadX509 } from '../../../src/host/tls-creds.js';
import { expectSame, pattern } from '../../support/block-host.js';
import { makePsk, makeX509 } from '../../support/tls-files.js';

const run = promisify(execFile);
const needed = ['certtool', 'psktool', 'nbdinfo', 'nbdcopy', 'qemu-img', 'qemu-nbd', 'nbdkit'];
const missing = needed.filter(
  program => spawnSync('sh', ['-c', `command -v ${program}`]).status !== 0,
);
const suite = missing.length > 0 ? describe.skip : describe;
const SIZE = 1024 * 1024;
const host = nodeHost();

suite(`NBD over TLS${missing.length > 0 ? ` (without ${missing.join(', ')})` : ''}`, () => {
  const dir = mkdtempSync(join(tmpdir(), 'colo-tls-'));
  const x509 = join(dir, 'x509');
  const others = join(dir, 'others');
  const psk = join(dir, 'psk');
  const layers: BlockLayer[] = [];
  beforeAll(() => {
    makeX509(x509);
    makeX509(others);
    makePsk(psk, ['alice', 'bob']);
    mkdirSync(join(dir, 'ca-only'));
    copyFileSync(join(x509, 'ca-cert.pem'), join(dir, 'ca-only', 'ca-cert.pem'));
    writeFileSync(join(dir, 'a.img'), pattern(SIZE));
  });
  afterEach(async () => {
    for (const layer of layers.splice(0)) await layer.close();
  });
  afterAll(() => rmSync(dir, { recursive: true }));

  /** The objects of a VM, by id. */
  const credentials: BlockLayer['graph']['credentials'] = (id, endpoint) => {
    const held = stored.get(`${id} ${endpoint}`);
    if (!held) throw new Error(`no ${id} for a ${endpoint}`);
    return { value: held, dispose: () => undefined };
  };
  const stored = new Map<string, TlsCredentials>();
  const layer = () => {
    const made = new BlockLayer(host);
    made.graph.credentials = credentials;
    layers.push(made);
    return made;
  };
  beforeAll(async () => {
    for (const endpoint of ['client', 'server'] as const)
      stored.set(
        `x509 ${endpoint}`,
        await loadX509(host.files, { dir: x509, endpoint, verifyPeer: true }),
      );
    for (const endpoint of ['client', 'server'] as const)
      stored.set(
        `psk ${endpoint}`,
        await loadPsk(host.files, { path: join(psk, 'keys.psk'), endpoint, username: 'alice' }),
      );
    stored.set(
      'others client',
      await loadX509(host.files, { dir: others, endpoint: 'client', verifyPeer: true }),
    );
    stored.set(
      'nameless client',
      await loadX509(host.files, {
        dir: join(dir, 'ca-only'),
        endpoint: 'client',
        verifyPeer: true,
      }),
    );
  });

  async function serve(tlsCreds: string): Promise<number> {
    const server = layer();
    await server.addDrive(parseDrive(`file=${dir}/a.img,format=raw,id=d,if=none`));
    await server.nbdServerStart({ kind: 'tcp', host: '127.0.0.1', port: 0 }, tlsCreds);
    server.nbdServerAdd({ device: 'd', writable: true });
    const { address } = server.nbd;
    return address?.kind === 'tcp' ? address.port : 0;
  }
  const open = (port: number, more: string) =>
    layer().addDrive(parseDrive(`driver=nbd,host=localhost,port=${port},id=c,if=none,${more}`));

  test('our server, by certificates: nbdinfo and qemu-img with theirs, nobody without', async () => {
    const port = await serve('x509');
    const info = JSON.parse(
      (await run('nbdinfo', ['--json', `nbds://localhost:${port}/d?tls-certificates=${x509}`]))
        .stdout,
    ) as Record<string, unknown>;
    expect(info).toMatchObject({ TLS: true, structured: true });
    const creds = (from: string) => [
      '--object',
      `tls-creds-x509,id=t,dir=${from},endpoint=client`,
      '--image-opts',
      `driver=nbd,host=localhost,port=${port},export=d,tls-creds=t`,
    ];
    expect((await run('qemu-img', ['info', ...creds(x509)])).stdout).toContain('1 MiB');
    await expect(run('qemu-img', ['info', ...creds(others)])).rejects.toThrow();
    await expect(run('nbdinfo', ['--size', `nbd://localhost:${port}/d`])).rejects.toThrow(/TLS/);
    expect(
      (
        await run('nbdinfo', ['--size', `nbds://localhost:${port}/d?tls-certificates=${x509}`])
      ).stdout.trim(),
    ).toBe(String(SIZE));
  });

  test('our server, by keys: nbdcopy with the right one, nobody with another', async () => {
    const port = await serve('psk');
    const uri = (user: string, keys: string) =>
      `nbds://${user}@localhost:${port}/d?tls-psk-file=${keys}`;
    await run('nbdcopy', [uri('bob', join(psk, 'keys.psk')), join(dir, 'copy')]);
    expectSame(readFileSync(join(dir, 'copy')), pattern(SIZE));
    makePsk(join(dir, 'forged'), ['bob', 'mallory']);
    await expect(run('nbdinfo', [uri('bob', join(dir, 'forged', 'keys.psk'))])).rejects.toThrow();
    await expect(
      run('nbdinfo', [uri('mallory', join(dir, 'forged', 'keys.psk'))]),
    ).rejects.toThrow();
    expect(
      (await run('nbdinfo', ['--size', uri('alice', join(psk, 'keys.psk'))])).stdout.trim(),
    ).toBe(String(SIZE));
  });

  test('our server and our client, certificates and keys; and what is refused with which words', async () => {
    const port = await serve('x509');
    const disk = await open(port, 'export=d,tls-creds=x509');
    await disk.pwrite(4096, pattern(300_000, 3));
    expectSame(await disk.pread(4096, 300_000), pattern(300_000, 3));
    await disk.pwrite(4096, pattern(SIZE).subarray(4096, 304_096));
    await expect(open(port, 'export=d')).rejects.toThrow("requires TLS for export 'd'");
    await expect(open(port, 'export=d,tls-creds=others')).rejects.toThrow(
      /TLS with localhost.*not of the authority in ca-cert.pem/,
    );
    await expect(open(port, 'export=d,tls-creds=x509,tls-hostname=elsewhere')).rejects.toThrow(
      /elsewhere/,
    );
    await expect(open(port, 'export=d,tls-creds=nameless')).rejects.toThrow();
    await expect(open(port, 'export=d,tls-creds=psk')).rejects.toThrow('TLS with localhost');
    const byKey = await serve('psk').catch((error: Error) => error.message);
    expect(byKey).toContain('lock');
  });

  test('plain bytes behind STARTTLS end the connection', async () => {
    const port = await serve('psk');
    const socket = connect(port, '127.0.0.1');
    const closed = new Promise(resolve => socket.once('close', resolve));
    socket.on('error', () => undefined);
    socket.resume();
    const starttls = Buffer.from('49484156454f50540000000500000000', 'hex');
    socket.write(
      Buffer.concat([Buffer.from([0, 0, 0, 3]), starttls, Buffer.from('GET / HTTP/1.0\r\n\r\n')]),
    );
    await closed;
  });

  test.each(['qemu-nbd', 'nbdkit'])(
    'our client against %s, by certificates and by keys',
    async program => {
      for (const [creds, object, kit] of [
        [
          'x509',
          `tls-creds-x509,id=t,dir=${x509},endpoint=server,verify-peer=on`,
          ['--tls=require', `--tls-certificates=${x509}`, '--tls-verify-peer'],
        ],
        [
          'psk',
          `tls-creds-psk,id=t,dir=${psk},endpoint=server`,
          ['--tls=require', `--tls-psk=${psk}/keys.psk`],
        ],
      ] as const) {
        const port = String(20_000 + Math.floor(Math.random() * 20_000));
        const args =
          program === 'nbdkit'
            ? ['-f', '-i', '127.0.0.1', '-p', port, ...kit, 'file', `${dir}/a.img`]
            : [
                '-t',
                '-r',
                '-f',
                'raw',
                '-b',
                '127.0.0.1',
                '-p',
                port,
                '--object',
                object,
                '--tls-creds',
                't',
                `${dir}/a.img`,
              ];
        const server = spawn(program, args, { stdio: 'ignore' });
        const gone = new Promise(resolve => server.once('exit', resolve));
        try {
          const disk = await open(Number(port), `readonly=on,open-timeout=10,tls-creds=${creds}`);
          expectSame(await disk.pread(0, SIZE), pattern(SIZE));
        } finally {
          for (const client of layers.splice(0)) await client.close();
          server.kill();
          await gone;
        }
      }
    },
    30_000,
  );
});
