/**
 * Goal: -chardev socket with tls-creds: two of them talk over TLS, also after a reconnect; a peer
 * of plain text never becomes one; a monitor on such a chardev answers over TLS. Method: real
 * sockets and credentials by openssl (skipped by name where it is missing); a whole VM for the
 * monitor.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import { parseLaunch } from '../../../src/commands/options/spec.js';
import type { CharBackend, CharPorts, Stdio } from '../../../src/chardev/contract.js';
import { createChardev } from '../../../src/chardev/create.js';
import { nodeHost } from '../../../src/host/node/host.js';
import type { TlsCredentials } from '../../../src/host/ports.js';
import { loadX509, type TlsEndpoint } from '../../../src/host/tls-creds.js';
import { readChardev } from '../../../src/vm/objects/chardevs.js';
import { addonBuilt } from '../../support/colo-process.js';
import { pairCertificates } from '../../support/openssl-files.js';
import { VmInProcess } from '../../support/vm-in-process.js';

const missing = spawnSync('openssl', ['version']).status !== 0;
const suite = missing ? describe.skip : describe;
const withAddon = addonBuilt ? test : test.skip;
const host = nodeHost();
const dir = mkdtempSync(join(tmpdir(), 'colo-char-tls-'));
const path = join(dir, 's');
const opened: { dispose(): unknown }[] = [];
afterEach(async () => {
  for (const one of opened.splice(0)) await one.dispose();
});
afterAll(() => rmSync(dir, { recursive: true }));

async function until(what: () => boolean): Promise<void> {
  for (let n = 0; !what(); n++) {
    if (n > 1000) throw new Error('it did not come');
    await new Promise(resolve => setTimeout(resolve, 10));
  }
}

suite(`chardevs over TLS${missing ? ' (without openssl)' : ''}`, () => {
  let held: Record<TlsEndpoint, TlsCredentials>;
  const log: string[] = [];
  beforeAll(async () => {
    await pairCertificates(join(dir, 'c'));
    const load = (endpoint: TlsEndpoint) =>
      loadX509(host.files, { dir: join(dir, 'c/a'), endpoint, verifyPeer: true });
    held = { client: await load('client'), server: await load('server') };
  }, 60_000);

  async function chardev(text: string): Promise<{ chr: CharBackend; heard: () => string }> {
    const ports: CharPorts = {
      ...host,
      stdio: {} as Stdio,
      credentials: (_, endpoint) => ({ value: held[endpoint], dispose: () => undefined }),
      log: line => log.push(line),
    };
    const { id, backend } = readChardev(text);
    const chr = await createChardev(id, backend, ports);
    opened.push(chr);
    let heard = '';
    chr.onData(bytes => (heard += Buffer.from(bytes).toString()));
    return { chr, heard: () => heard };
  }

  test('two ends, again after a reconnect; plain text is nobody', async () => {
    const server = await chardev(`socket,id=s,path=${path},server=on,wait=off,tls-creds=t`);
    expect(server.chr.label).toBe(`unix:${path},server=on,tls-creds=t`);
    const plain = connect(path, () => plain.write('plain text that nobody wants'));
    opened.push({ dispose: () => plain.destroy() });
    let got = '';
    plain.on('data', bytes => (got += bytes.toString()));
    await new Promise(resolve => plain.once('close', resolve));
    expect([got, server.heard(), server.chr.connected]).toEqual(['', '', false]);
    expect(log.join()).toContain("chardev 's': a connection was refused: TLS with");
    const client = await chardev(`socket,id=c,path=${path},reconnect-ms=10,tls-creds=t`);
    await until(() => client.chr.connected && server.chr.connected);
    client.chr.write(Buffer.from('there'));
    server.chr.write(Buffer.from('back'));
    await until(() => server.heard() === 'there' && client.heard() === 'back');
    server.chr.yank?.();
    await until(() => !client.chr.connected);
    await until(() => client.chr.connected && server.chr.connected);
    client.chr.write(Buffer.from(' again'));
    await until(() => server.heard() === 'there again');
  });

  withAddon('a monitor over TLS (skipped where the addon is not built)', async () => {
    const monitor = join(dir, 'm');
    const line =
      `-m 32 -accel soft -S -object tls-creds-x509,id=t,dir=${dir}/c/a,endpoint=server -chardev ` +
      `socket,id=q,path=${monitor},server=on,wait=off,tls-creds=t -mon q,mode=control`;
    const vm = await VmInProcess.start(parseLaunch('primary', line.split(' ')).spec);
    opened.push(vm);
    const { ca, certificate, key } = held.client as Extract<TlsCredentials, { kind: 'x509' }>;
    const pem = (bytes: Uint8Array | undefined) => Buffer.from(bytes ?? []);
    const user = connectTls({ path: monitor, ca: pem(ca), cert: pem(certificate), key: pem(key) });
    opened.push({ dispose: () => user.destroy() });
    let said = '';
    user.on('data', bytes => (said += bytes.toString()));
    await until(() => said.includes('"QMP"'));
    user.write('{"execute": "qmp_capabilities"}{"execute": "query-status"}\n');
    await until(() => said.includes('prelaunch'));
  });
});
