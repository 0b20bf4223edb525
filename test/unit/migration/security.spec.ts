/**
 * Goal: a guest migrates over TLS, and nothing of it is to be read on the way; a peer without TLS,
 * with what is of others, ended or missing, gets no guest and does no harm: the guest runs on, and
 * the next one that is right gets in. Method: two whole VMs of this process whose guest counts, an
 * ear between them, credentials by openssl (skipped by name where it or the addon is missing).
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseLaunch } from '../../../src/commands/options/spec.js';
import { addonBuilt } from '../../support/colo-process.js';
import { fakeKernel } from '../../support/fake-kernel.js';
import { expiredSide, pairCertificates, pskFolder } from '../../support/openssl-files.js';
import { Assembler } from '../../support/toy-guest.js';
import { VmInProcess } from '../../support/vm-in-process.js';

const ready = addonBuilt && spawnSync('openssl', ['version']).status === 0;
const suite = ready ? describe : describe.skip;
const dir = mkdtempSync(join(tmpdir(), 'colo-mig-tls-'));
const at = (name: string) => join(dir, name);
const counter = 0x20_0000;
const open: VmInProcess[] = [];
const ears: Server[] = [];
afterEach(async () => {
  for (const vm of open.splice(0)) await vm.dispose();
  for (const ear of ears.splice(0)) ear.close();
});
afterAll(() => rmSync(dir, { recursive: true }));

/** creds: `x509 FOLDER`, `psk FOLDER`. */
async function start(creds: string | undefined, ...extra: string[]): Promise<VmInProcess> {
  const [kind, folder] = creds?.split(' ') ?? [];
  const object = `tls-creds-${kind},id=t,dir=${at(folder ?? '')},endpoint=both`;
  const tls = creds === undefined ? [] : ['-object', object];
  const words = ['-m', '32', '-accel', 'soft', '-kernel', at('kernel'), ...tls, ...extra];
  const vm = await VmInProcess.start(parseLaunch('primary', words).spec);
  open.push(vm);
  if (creds !== undefined) await vm.qmp('migrate-set-parameters', { 'tls-creds': 't' });
  return vm;
}

/** Gives the port at which it waits. */
async function target(creds: string | undefined): Promise<{ vm: VmInProcess; port: number }> {
  const vm = await start(creds, '-incoming', 'defer');
  await vm.qmp('migrate-incoming', { uri: 'tcp:127.0.0.1:0' });
  const address = vm.vm.colo.waitsAt;
  return { vm, port: address?.kind === 'tcp' ? address.port : 0 };
}

async function running(creds?: string): Promise<VmInProcess> {
  const vm = await start(creds);
  await counts(vm);
  return vm;
}

async function counts(vm: VmInProcess): Promise<void> {
  const from = await vm.number(counter);
  await vm.until('the guest counts', async () => (await vm.number(counter)) > from);
}

/** Why it failed; undefined: it went there. */
async function migrate(vm: VmInProcess, uri: string): Promise<string | undefined> {
  await vm.qmp('migrate', { uri });
  const info = () => vm.vm.colo.query();
  await vm.until('the end of it', () => ['failed', 'completed'].includes(info().status));
  return info().status === 'failed' ? info().error : undefined;
}

/** Passes all on to that port, and remembers it. */
async function ear(port: number): Promise<{ port: number; heard: Buffer[] }> {
  const heard: Buffer[] = [];
  const server = createServer(near => {
    const far = connect(port, '127.0.0.1');
    const pass = (from: typeof near, to: typeof near) => {
      from.on('data', (bytes: Buffer) => void heard.push(bytes));
      from.pipe(to);
      from.on('error', () => to.destroy());
    };
    pass(near, far);
    pass(far, near);
  });
  ears.push(server);
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  return { port: (server.address() as { port: number }).port, heard };
}

suite(`migration over TLS${ready ? '' : ' (without openssl or the addon)'}`, () => {
  beforeAll(async () => {
    const entry = 0x100_0200;
    const image = fakeKernel();
    const code = new Assembler(entry).incDword(counter).jumpTo(entry).code();
    code.copy(image, 1024 + 0x200);
    writeFileSync(at('kernel'), image);
    await pairCertificates(at('pair'));
    await pairCertificates(at('others'));
    expiredSide(at('pair'), at('old'));
    pskFolder(at('key'), '5');
    pskFolder(at('otherkey'), '6');
  }, 60_000);

  test.each([
    ['certificates', 'x509 pair/a', 'x509 pair/b'],
    ['keys', 'psk key', 'psk key'],
  ])('by %s; the wire tells nothing, as it does without', async (_, from, to) => {
    const plain = await target(undefined);
    const open = await ear(plain.port);
    expect(await migrate(await running(), `tcp:127.0.0.1:${open.port}`)).toBeUndefined();
    expect(Buffer.concat(open.heard).includes('isa-serial')).toBe(true);

    const { vm, port } = await target(to);
    const closed = await ear(port);
    const source = await running(from);
    expect(await migrate(source, `tcp:127.0.0.1:${closed.port}`)).toBeUndefined();
    await counts(vm);
    const wire = Buffer.concat(closed.heard);
    expect(wire.length).toBeGreaterThan(10_000);
    expect(wire.includes('isa-serial')).toBe(false);
  });

  const OTHER_CA = /certificate is not of the authority in ca-cert.pem/;
  const EXPIRED = /the peer's certificate has expired/;
  const UNWANTED = /right after the handshake|the peer closed the connection/;
  const DIFFERENT = /different keys/;
  test.each<[string, string | undefined, string | undefined, RegExp, RegExp | undefined]>([
    ['without TLS', undefined, 'x509 pair/b', /does it want TLS/, /the peer does not speak TLS/],
    ['of another authority', 'x509 others/a', 'x509 pair/b', OTHER_CA, /was refused/],
    ['that has expired', 'x509 old', 'x509 pair/b', UNWANTED, EXPIRED],
    ['with another key', 'psk otherkey', 'psk key', DIFFERENT, DIFFERENT],
    [
      'to a destination without TLS',
      'x509 pair/a',
      undefined,
      /the peer does not speak TLS/,
      undefined,
    ],
    ['to one that has expired', 'x509 pair/a', 'x509 old', EXPIRED, /was refused/],
  ])(
    'a source %s gives its guest to nobody; then the right one comes in',
    async (_, from, to, why, there) => {
      const { vm, port } = await target(to);
      const source = await running(from);
      expect(await migrate(source, `tcp:127.0.0.1:${port}`)).toMatch(why);
      await counts(source);
      expect(vm.vm.machine.runState).toBe('inmigrate');
      if (there) await vm.until('the sentence', () => there.test(vm.notes.join('\n')));
      if (to === 'x509 old') return;
      const right = await running(to?.replace('/b', '/a'));
      expect(await migrate(right, `tcp:127.0.0.1:${port}`)).toBeUndefined();
      await counts(vm);
    },
  );

  test('a name in the place of the address; one that it is not for', async () => {
    const { port } = await target('x509 pair/b');
    const source = await running('x509 pair/a');
    await source.qmp('migrate-set-parameters', { 'tls-hostname': 'db.example' });
    expect(await migrate(source, `tcp:127.0.0.1:${port}`)).toMatch(/db\.example/);
    expect(await source.hmp('migrate_set_parameter tls-hostname localhost')).toBe('');
    expect(await migrate(source, `tcp:127.0.0.1:${port}`)).toBeUndefined();
  });

  test('credentials that are not there, or for the other end; those in use stay', async () => {
    const server = `tls-creds-x509,id=s,dir=${at('pair/b')},endpoint=server`;
    const vm = await start('x509 pair/a', '-object', server, '-incoming', 'defer');
    const listen = () => vm.qmp('migrate-incoming', { uri: 'tcp:127.0.0.1:0' });
    await vm.qmp('migrate-set-parameters', { 'tls-creds': 'nobody' });
    await expect(listen()).rejects.toThrow("No object with id 'nobody'");
    await vm.qmp('migrate-set-parameters', { 'tls-creds': 's' });
    await listen();
    await expect(vm.qmp('object-del', { id: 's' })).rejects.toThrow(/'s'.*in use/);
    const source = await running('x509 pair/a');
    await source.qmp('object-add', { 'qom-type': 'tls-creds-x509', id: 's', dir: at('pair/a') });
    const given = { 'qom-type': 'tls-creds-x509', id: 'e', dir: at('pair/a'), endpoint: 'server' };
    await source.qmp('object-add', given);
    await source.qmp('migrate-set-parameters', { 'tls-creds': 'e' });
    const uri = `tcp:127.0.0.1:${(vm.vm.colo.waitsAt as { port: number }).port}`;
    expect(await migrate(source, uri)).toContain('Expected TLS credentials for a client endpoint');
    await source.qmp('migrate-set-parameters', { 'tls-creds': 's' });
    expect(await migrate(source, uri)).toBeUndefined();
  });

  test('what goes over a network without TLS is said once', async () => {
    const source = await running();
    // Nobody is there (RFC 5737), and nothing routes to it.
    for (let n = 0; n < 2; n++) {
      await source.qmp('migrate', { uri: 'tcp:192.0.2.1:1' });
      await source.qmp('migrate_cancel');
      await source.until('its end', () => !source.vm.colo.migration.busy);
    }
    expect(source.notes.filter(line => line.includes('without TLS'))).toHaveLength(1);
    const addr = (host: string) => ({ addr: { type: 'inet', data: { host, port: '0' } } });
    for (const host of ['127.0.0.1', '0.0.0.0']) {
      await source.qmp('nbd-server-start', addr(host));
      await source.qmp('nbd-server-stop');
    }
    expect(source.notes.filter(line => line.includes('NBD server can be'))).toHaveLength(1);
  });
});
