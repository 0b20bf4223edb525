/**
 * Goal: the real clock, files, sockets and taps keep the promises of src/host/ports.ts. Method: use
 * them, and be mean to them.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import {
  readFileSync,
  mkdtempSync,
  openSync,
  rmSync,
  statSync,
  writeFileSync,
  closeSync,
  existsSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { NodeClock } from '../../src/host/node/clock.js';
import { NodeFiles } from '../../src/host/node/files.js';
import { NodeSockets } from '../../src/host/node/sockets.js';
import { NodeTaps } from '../../src/host/node/taps.js';
import type { Stream } from '../../src/host/ports.js';

const dir = mkdtempSync(join(tmpdir(), 'colo-host-'));
afterAll(() => rmSync(dir, { recursive: true }));
const later = (ms: number) => new Promise(resolve => setTimeout(resolve, ms));

/** Looks every 5 ms, 2 s at least; then the test's own check says what is missing. */
async function eventually(holds: () => boolean | Promise<boolean>): Promise<void> {
  for (let looks = 0; looks < 400 && !(await holds()); looks++) await later(5);
}

describe('files', () => {
  const files = new NodeFiles();

  test('reads are short only at the end, writes are whole, holes read as zeroes', async () => {
    const f = await files.open(join(dir, 'a'), { readOnly: false, lock: 'auto', create: true });
    await f.pwrite(Buffer.alloc(1 << 20, 7), 100);
    expect(await f.size()).toBe((1 << 20) + 100);
    const buffer = Buffer.alloc(300);
    expect(await f.pread(buffer, (1 << 20) - 100)).toBe(200);
    await f.punchHole(4096, 1 << 19);
    await f.fdatasync();
    expect(await f.size()).toBe((1 << 20) + 100);
    expect(await f.pread(buffer, 4096)).toBe(300);
    expect(buffer).toEqual(Buffer.alloc(300));
    expect(statSync(f.path).blocks * 512).toBeLessThan(1 << 20);
    await f.truncate(10);
    expect(await f.size()).toBe(10);
    await f.close();
  });

  test('a missing file is a sentence', async () => {
    const opening = files.open(join(dir, 'none'), { readOnly: true, lock: 'auto' });
    await expect(opening).rejects.toThrow(
      `Could not open '${join(dir, 'none')}': No such file or directory`,
    );
  });

  test('one writer or many readers', async () => {
    const path = join(dir, 'locked');
    writeFileSync(path, 'x');
    const reader = () => files.open(path, { readOnly: true, lock: 'auto' });
    const writer = () => files.open(path, { readOnly: false, lock: 'auto' });
    const readers = await Promise.all([reader(), reader(), reader()]);
    await expect(writer()).rejects.toThrow(`Failed to get "write" lock on '${path}'`);
    // does not drop the others' locks
    await (await files.open(path, { readOnly: false, lock: 'none' })).close();
    await expect(writer()).rejects.toThrow('lock');
    for (const r of readers) await r.close();
    const w = await writer();
    await expect(writer()).rejects.toThrow('lock');
    await expect(reader()).rejects.toThrow('Failed to get shared "write" lock');
    await w.close();
    await (await reader()).close();
  });

  const qemuIo = spawnSync('qemu-io', ['--version']).status === 0;
  (qemuIo ? test : test.skip)('QEMU and colo respect each other', async () => {
    const path = join(dir, 'qemu.raw');
    writeFileSync(path, Buffer.alloc(65536));
    const writer = () =>
      spawnSync('qemu-io', ['-f', 'raw', '-c', 'write 0 512', path], { encoding: 'utf8' });
    const reader = () =>
      spawnSync('qemu-img', ['convert', '-f', 'raw', '-O', 'raw', path, `${path}.copy`], {
        encoding: 'utf8',
      });
    const w = await files.open(path, { readOnly: false, lock: 'auto' });
    expect(writer().stderr).toMatch(/Failed to get .*lock/);
    expect(reader().stderr).toMatch(/Failed to get .*lock/);
    await w.close();
    const r = await files.open(path, { readOnly: true, lock: 'auto' });
    expect(writer().stderr).toMatch(/Failed to get .*lock/);
    expect(reader().status).toBe(0);
    await r.close();
    expect(writer().status).toBe(0);
  });
});

describe('sockets', () => {
  const sockets = new NodeSockets();

  async function pair(address: Parameters<NodeSockets['listen']>[0]) {
    let accept: (s: Stream) => void;
    const accepted = new Promise<Stream>(resolve => (accept = resolve));
    const listener = await sockets.listen(address, s => accept(s));
    const client = await sockets.connect(listener.address, { timeoutMs: 1000 });
    return { listener, client, server: await accepted };
  }

  test.each([
    { kind: 'tcp', host: '127.0.0.1', port: 0 } as const,
    { kind: 'unix', path: join(dir, 'sock') } as const,
  ])('bytes arrive in order, ends are told once: $kind', async address => {
    const { listener, client, server } = await pair(address);
    let got = Buffer.alloc(0);
    let ends = 0;
    server.onData(bytes => (got = Buffer.concat([got, bytes])));
    const ended = new Promise<void>(resolve => server.onEnd(() => (ends++, resolve())));
    const sent = Buffer.alloc(3 << 20, 'abcdefg');
    await Promise.all([
      client.write(sent.subarray(0, 1 << 20)),
      client.write(sent.subarray(1 << 20)),
    ]);
    expect(client.pending).toBe(0);
    client.end();
    await ended;
    expect(got.equals(sent)).toBe(true);
    const reply = new Promise<Uint8Array>(resolve => client.onData(resolve));
    await server.write(Buffer.from('still here')); // half-closed: the other direction lives
    expect(Buffer.from(await reply).toString()).toBe('still here');
    const gone = new Promise(resolve => client.onEnd(resolve));
    server.destroy();
    await gone;
    await expect(server.write(Buffer.from('x'))).rejects.toThrow();
    client.destroy();
    listener.dispose();
    await later(5);
    expect(ends).toBe(1);
  });

  test('refused, in use: sentences that name the address', async () => {
    const { listener, client, server } = await pair({ kind: 'tcp', host: '127.0.0.1', port: 0 });
    const address = listener.address as { kind: 'tcp'; host: string; port: number };
    await expect(sockets.listen(address, () => undefined)).rejects.toThrow(
      `Failed to listen on '127.0.0.1:${address.port}': Address already in use`,
    );
    client.destroy();
    server.destroy();
    listener.dispose();
    let refusal = '';
    const refused = async () => {
      await sockets.connect(address, { timeoutMs: 1000 }).then(
        stream => stream.destroy(),
        (e: Error) => (refusal = e.message),
      );
      return refusal !== '';
    };
    await eventually(refused);
    expect(refusal).toContain(`'127.0.0.1:${address.port}': Connection refused`);
  });

  test('a Unix socket left by a dead process is replaced, a live one is not', async () => {
    const path = join(dir, 'stale');
    const script =
      `require('net').createServer().listen(${JSON.stringify(path)}, () => ` +
      `process.kill(process.pid, 'SIGKILL'))`;
    spawnSync(process.execPath, ['-e', script]);
    expect(existsSync(path)).toBe(true);
    const listener = await sockets.listen({ kind: 'unix', path }, () => undefined);
    await expect(sockets.listen({ kind: 'unix', path }, () => undefined)).rejects.toThrow('in use');
    listener.dispose();
  });

  test('an end before onEnd is not lost', async () => {
    const raw = createServer(s => s.end('bye')).listen(0);
    const { port } = raw.address() as { port: number };
    const client = await sockets.connect(
      { kind: 'tcp', host: '127.0.0.1', port },
      { timeoutMs: 1000 },
    );
    client.onData(() => undefined);
    await later(20);
    await new Promise<void>(resolve => client.onEnd(() => resolve()));
    client.destroy();
    raw.close();
  });
});

const uptimeMs = () => Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0]) * 1000;

test('the clock does not go back, and a timer can be taken back', async () => {
  const clock = new NodeClock();
  const start = clock.nowMs();
  let fired = 0;
  clock.timer(10, () => fired++);
  const never = clock.timer(10, () => (fired += 100));
  clock.timer(2 ** 33, () => (fired += 1000)).dispose();
  never.dispose();
  never.dispose();
  await eventually(() => fired > 0);
  await later(20);
  expect(fired).toBe(1);
  expect(clock.nowMs() - start).toBeGreaterThanOrEqual(10);
  let apartMs = Infinity;
  await eventually(() => (apartMs = Math.abs(clock.wallMs() - Date.now())) < 50);
  expect(apartMs).toBeLessThan(50);
  // It tells microseconds.
  const parts = Array.from({ length: 20 }, () => clock.wallMs() % 1);
  expect(parts.some(part => part !== 0)).toBe(true);
  // The first number of /proc/uptime, in hundredths of a second, is the clock that counts suspend.
  const [before, boot, after] = [uptimeMs(), clock.bootMs(), uptimeMs()];
  expect([before - 10 <= boot, boot <= after + 10]).toEqual([true, true]);
});

describe('tap', () => {
  const usable = canOpenTap();

  (usable ? test : test.skip)('frames pass in both directions', async () => {
    const tap = new NodeTaps().open('colotest%d');
    expect(tap.ifname).toMatch(/^colotest\d+$/);
    const frames: Buffer[] = [];
    tap.onFrame(frame => frames.push(Buffer.from(frame)));
    execFileSync('ip', ['link', 'set', tap.ifname, 'up']);
    execFileSync('ip', ['addr', 'add', '198.18.237.1/30', 'dev', tap.ifname]);
    spawnSync('bash', ['-c', 'echo hi > /dev/udp/198.18.237.2/9']); // asks who has 198.18.237.2
    const question = () => frames.find(f => f.readUInt16BE(12) === 0x0806);
    await eventually(() => question() !== undefined);
    tap.pause();
    const arp = question()!;
    expect(arp.subarray(38, 42)).toEqual(Buffer.from([198, 18, 237, 2]));
    const answer = Buffer.concat([
      arp.subarray(6, 12),
      Buffer.from('020000000002', 'hex'),
      arp.subarray(12, 20),
      Buffer.from('0002', 'hex'),
    ]);
    const mac = Buffer.from('020000000002', 'hex');
    const reply = Buffer.concat([answer, mac, arp.subarray(38, 42), arp.subarray(22, 32)]);
    expect(tap.write(reply)).toBe(true);
    const neighbours = () =>
      execFileSync('ip', ['neigh', 'show', 'dev', tap.ifname], { encoding: 'utf8' });
    await eventually(() => neighbours().includes('02:00:00:00:00:02'));
    expect(neighbours()).toContain('02:00:00:00:00:02');
    tap.resume();
    tap.dispose();
    tap.dispose();
    expect(tap.write(reply)).toBe(false);
  });

  const perl = spawnSync('perl', ['-v']).status === 0;
  (usable && perl ? test : test.skip)('what its last user offloaded is not left on', async () => {
    const name = 'colotestoff';
    // TUNSETIFF (a tap without headers), TUNSETPERSIST, TUNSETOFFLOAD (TUN_F_CSUM): linux/if_tun.h
    const script =
      "open(F, '+<', '/dev/net/tun') or die; my $r = pack('a16 S x22', $ARGV[0], 0x1002); " +
      'ioctl(F, 0x400454ca, $r) or die; ioctl(F, 0x400454cb, 1) or die; ' +
      'ioctl(F, 0x400454d0, 1) or die';
    execFileSync('perl', ['-e', script, name]);
    const ip = (...args: string[]) => execFileSync('ip', args);
    const tap = new NodeTaps().open(name);
    try {
      const frames: Buffer[] = [];
      tap.onFrame(frame => frames.push(Buffer.from(frame)));
      ip('link', 'set', name, 'up');
      ip('addr', 'add', '198.18.237.5/30', 'dev', name);
      ip('neigh', 'add', '198.18.237.6', 'lladdr', '02:00:00:00:00:06', 'dev', name);
      spawnSync('bash', ['-c', 'echo hi > /dev/udp/198.18.237.6/9']);
      const udp = () => frames.find(f => f.readUInt16BE(12) === 0x0800 && f[23] === 17);
      await eventually(() => udp() !== undefined);
      expect(udpSum(udp()!)).toBe(0xffff);
    } finally {
      tap.dispose();
      ip('link', 'del', name);
    }
  });

  test('a name that cannot be is a sentence', () => {
    expect(() => new NodeTaps().open('far-too-long-a-name')).toThrow(
      "could not open tap interface 'far-too-long-a-name'",
    );
  });
});

/** Of a datagram over IPv4 without options: all ones when its checksum is right (RFC 768). */
function udpSum(frame: Buffer): number {
  const words = (from: number, to: number) =>
    Array.from({ length: (to - from) / 2 }, (_, i) => frame.readUInt16BE(from + 2 * i));
  const length = frame.readUInt16BE(38);
  const covered = Buffer.concat([frame.subarray(0, 34 + length), Buffer.alloc(1)]);
  const data = Array.from({ length: Math.ceil(length / 2) }, (_, i) =>
    covered.readUInt16BE(34 + 2 * i),
  );
  const sum = [...words(26, 34), 17, length, ...data].reduce((all, word) => all + word, 0);
  return (sum & 0xffff) + (sum >>> 16);
}

function canOpenTap(): boolean {
  if (!existsSync('/dev/net/tun') || spawnSync('ip', ['-V']).status !== 0) return false;
  try {
    closeSync(openSync('/dev/net/tun', 'r+'));
    new NodeTaps().open('colotest%d').dispose();
    return true;
  } catch {
    return false;
  }
}
