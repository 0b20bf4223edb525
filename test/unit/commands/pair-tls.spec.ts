/**
 * Goal: a pair whose every channel is authenticated and encrypted, from `colo init --tls`: it
 * protects, a side is lost, the other takes over, the lost one comes back, and the same the other
 * way round; a side with what is of others gets nothing and does no harm; an address off this host
 * is refused without TLS unless it is said. Method: the real processes on loopback with a guest of
 * two instructions (skipped by name where openssl or the addon is missing).
 */
import { spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { addonBuilt, colo, ColoProcess, expectDone } from '../../support/colo-process.js';
import { fakeKernel } from '../../support/fake-kernel.js';
import { expiredSide, pairCertificates, pskFolder } from '../../support/openssl-files.js';
import { Assembler } from '../../support/toy-guest.js';

const ready = addonBuilt && spawnSync('openssl', ['version']).status === 0;
const suite = ready ? describe : describe.skip;
const limitMs = 300_000;
const started: ColoProcess[] = [];
let dir: string;
let env: NodeJS.ProcessEnv;
let port: number;
const at = (name: string) => join(dir, name);

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'colo-pair-tls-'));
  env = { XDG_RUNTIME_DIR: dir };
  const code = Buffer.from(new Assembler(0).incDword(0x80_0000).hlt().code());
  writeFileSync(at('vmlinuz'), fakeKernel({ code }));
  port = await freePorts(4);
});
afterEach(async () => {
  for (const { child } of started.splice(0)) child.kill('SIGKILL');
  for (const name of ['toy-primary', 'toy-secondary']) {
    const vm = await look(name);
    if (vm?.pid) process.kill(vm.pid, 'SIGKILL');
  }
  rmSync(dir, { recursive: true });
});

/** The first of so many that are free now. */
async function freePorts(many: number): Promise<number> {
  for (;;) {
    const first = 20_000 + Math.floor(Math.random() * 10_000);
    const free = await Promise.all(
      Array.from({ length: many }, (_, n) => {
        const server = createServer();
        return new Promise<boolean>(resolve => {
          server.once('error', () => resolve(false));
          server.listen(first + n, '127.0.0.1', () => server.close(() => resolve(true)));
        });
      }),
    );
    if (!free.includes(false)) return first;
  }
}

const init = (...more: string[]) =>
  colo(
    [
      ...['init', at('toy.yaml'), '--name', 'toy', '--memory', '32M', '--kernel', 'vmlinuz'],
      ...['--disk', 'p.img', '--replica', 's.img', '--size', '4M', '--port', String(port), '--yes'],
      ...more,
    ],
    { env },
  );

function start(...words: string[]): ColoProcess {
  const started_ = new ColoProcess(words, { env });
  started.push(started_);
  return started_;
}

interface Line {
  name: string;
  role: string;
  pair: string;
  pid: number;
}

async function look(name: string): Promise<Line | undefined> {
  const { out } = await colo(['list', '--json'], { env });
  return (JSON.parse(out) as Line[]).find(line => line.name === name);
}

async function until(name: string, role: string, by: ColoProcess): Promise<Line> {
  let line: Line | undefined;
  await by.until(`${name} as a protected ${role}`, async () => {
    line = await look(name);
    return line?.role === role && line.pair === 'protected';
  });
  return line!;
}

/** What a port says to plain text. */
function answerOf(at: number, text: string): Promise<string> {
  return new Promise(resolve => {
    let said = '';
    const socket = connect(at, '127.0.0.1', () => socket.write(text));
    socket.on('data', bytes => (said += bytes.toString('latin1')));
    socket.once('error', () => resolve(said));
    socket.once('close', () => resolve(said));
    setTimeout(() => socket.destroy(), 10_000).unref();
  });
}

suite(`a pair over TLS${ready ? '' : ' (without openssl or the addon)'}`, () => {
  test(
    'either side is lost and comes back, with every channel over TLS',
    async () => {
      expectDone(await init('--tls'));
      expect(statSync(at('toy-tls')).mode & 0o777).toBe(0o700);
      expect(statSync(at('toy-tls/b/server-key.pem')).mode & 0o777).toBe(0o600);
      const b = start('run', at('toy.yaml'), '--side', 'b');
      const a = start('run', at('toy.yaml'), '--side', 'a');
      const sides = [
        { name: 'toy-primary', by: a },
        { name: 'toy-secondary', by: b },
      ];
      for (let round = 0; round < 2; round++) {
        const [lost, survivor] = round % 2 === 0 ? sides : [...sides].reverse();
        const { pid } = await until(lost.name, 'primary', lost.by);
        // The migration's port says nothing to plain text, the disks' one wants TLS first.
        const waits = port + (round % 2 === 0 ? 0 : 2);
        expect(await answerOf(waits, 'plain bytes')).toBe('');
        const go = '\0\0\0\x03IHAVEOPT\0\0\0\x07\0\0\0\x0b\0\0\0\x05disk0\0\0';
        expect(await answerOf(waits + 1, go)).toContain('\x80\0\0\x05'); // NBD_REP_ERR_TLS_REQD
        await survivor.by.says('a connection was refused: TLS with 127.0.0.1:');
        expect((await look(lost.name))?.pair).toBe('protected');
        process.kill(pid, 'SIGKILL');
        const isLost = async () => (await look(survivor.name))?.pair === 'lost';
        await survivor.by.until('the loss', isLost);
        expectDone(await colo(['failover', survivor.name, '--yes'], { env }));
        await until(survivor.name, 'primary', survivor.by);
        await until(lost.name, 'secondary', lost.by);
      }
    },
    limitMs,
  );

  test.each([
    ['of another authority', 'not of the authority in ca-cert.pem'],
    ['that ended', "the peer's certificate has expired"],
    ['with another key', 'different keys under this name'],
    ['that are missing', "Could not open '.*ca-cert.pem'|No such file"],
  ])(
    'a secondary with credentials %s: the guest runs on, and the right one gets in',
    async (which, sentence) => {
      expectDone(await init('--tls'));
      const good = at('good');
      if (which === 'with another key') {
        const file = readFileSync(at('toy.yaml'), 'utf8');
        writeFileSync(at('toy.yaml'), file.replace('# kind: psk', 'kind: psk'));
        for (const side of ['a', 'b']) pskFolder(at(`toy-tls/${side}`), '5');
      }
      cpSync(at('toy-tls/b'), good, { recursive: true });
      if (which === 'with another key') pskFolder(at('toy-tls/b'), '6');
      else rmSync(at('toy-tls/b'), { recursive: true });
      if (which === 'of another authority') {
        await pairCertificates(at('others'));
        cpSync(at('others/b'), at('toy-tls/b'), { recursive: true });
      } else if (which === 'that ended') expiredSide(at('toy-tls'), at('toy-tls/b'));
      else if (which === 'that are missing') mkdirSync(at('toy-tls/b'));
      const secondary = () => start('secondary', '--config', at('toy.yaml'));
      const wrong = secondary();
      const primary = start('primary', '--config', at('toy.yaml'), '-rejoin');
      if (which === 'that are missing') {
        expect(await wrong.exited).toBe(1);
        expect(wrong.err).toMatch(new RegExp(sentence));
      } else {
        await primary.says(sentence);
        wrong.child.kill('SIGKILL');
        await wrong.exited;
      }
      const line = await look('toy-primary');
      expect([line?.role, line?.pair]).not.toContain('protected');
      rmSync(at('toy-tls/b'), { recursive: true });
      cpSync(good, at('toy-tls/b'), { recursive: true });
      secondary();
      await until('toy-primary', 'primary', primary);
    },
    limitMs,
  );
});

test('without TLS nothing of a pair goes over a network, unless it is said', async () => {
  const bare = await init('--peer', '192.0.2.2', '--own', '192.0.2.1');
  expect([bare.code, existsSync(at('toy.yaml'))]).toEqual([2, false]);
  expect(bare.err).toContain('say --tls, which makes certificates for both sides, or --insecure');
  const said = await init('--peer', '192.0.2.2', '--own', '192.0.2.1', '--insecure');
  expectDone(said);
  const insecure = readFileSync(at('toy.yaml'), 'utf8');
  expect(insecure).toMatch(/^insecure: true$/m);
  writeFileSync(at('toy.yaml'), insecure.replace(/^insecure: true$/m, ''));
  const config = ['--config', at('toy.yaml')];
  const lines = [
    ['primary', ...config],
    ['secondary', ...config],
    ['protect', 'toy-primary', ...config],
    ['run', at('toy.yaml'), '--side', 'a'],
  ];
  for (const line of lines) {
    const { code, err } = await colo(line, { env });
    expect([code, err]).toEqual([2, expect.stringContaining('peer.migration: tcp:192.0.2.2:')]);
    expect(err).toContain('colo init --tls');
  }
  // It is taken with the word: what is missing then is the VM.
  const protect = await colo(['protect', 'toy-primary', ...config, '--insecure'], { env });
  expect([protect.code, protect.err]).toEqual([1, expect.not.stringContaining('init --tls')]);
  const asked = await colo(['primary', '-S', '-insecure'], { env });
  expect([asked.code, asked.err]).toEqual([2, expect.stringContaining('-insecure')]);
}, 60_000);

test('colo init --tls without openssl says which package has it, and leaves nothing', async () => {
  env = { ...env, PATH: at('none') };
  const { code, err } = await init('--tls');
  expect([code, err]).toEqual([1, expect.stringContaining('apt-get install openssl')]);
  expect([existsSync(at('toy-tls')), existsSync(at('toy.yaml'))]).toEqual([false, false]);
}, 60_000);
