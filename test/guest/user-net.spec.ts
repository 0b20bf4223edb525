/**
 * Goal: a guest behind `-netdev user` is reached by a port of the host; of a pair on one host the
 * side that runs it has that port, and who connects anew after a failover meets the same guest.
 * Method: two real processes with Debian's kernel, whose init counts the lines that it is asked.
 * Skipped, with the reason printed, where no kernel can be had.
 */
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from '@jest/globals';
import { ColoProcess } from '../support/colo-process.js';
import { type GuestImage, imageOrReason } from './build.js';

const LIMIT_MS = 240_000;
const SOON_MS = 30_000;
const image = await imageOrReason();
const dir = mkdtempSync(join(tmpdir(), 'colo-user-net-'));
const sockets: Socket[] = [];
afterAll(() => {
  for (const socket of sockets) socket.destroy();
  rmSync(dir, { recursive: true });
});

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

async function client(port: number): Promise<Socket> {
  const socket = connect(port, '127.0.0.1');
  sockets.push(socket);
  await once(socket, 'connect');
  socket.on('error', () => undefined);
  return socket;
}

/** The next number of the guest's count. Rejects where the connection ends instead. */
async function ask(socket: Socket): Promise<number> {
  socket.write('next\n');
  const closed = once(socket, 'close').then(() => Promise.reject(new Error('it was closed')));
  const [answer] = (await Promise.race([once(socket, 'data'), closed])) as [Buffer];
  return Number(answer.toString().split(' ')[0]);
}

/** The guest may be up before its server is, and refuses then. */
async function firstAnswer(port: number): Promise<{ socket: Socket; count: number }> {
  for (const end = performance.now() + LIMIT_MS; ;) {
    try {
      const socket = await client(port);
      return { socket, count: await ask(socket) };
    } catch (error) {
      if (performance.now() > end) throw error;
      await new Promise(resolve => setTimeout(resolve, 200));
    }
  }
}

const side = (role: 'primary' | 'secondary', port: number, more: string[]) =>
  new ColoProcess([
    role,
    ...['-m', '256', '-accel', 'soft', '-display', 'none', '-monitor', 'none'],
    ...['-netdev', `user,id=hn0,hostfwd=tcp:127.0.0.1:${port}-:7777`],
    ...['-device', 'virtio-net-pci,netdev=hn0,mac=52:54:00:12:34:56'],
    ...['-qmp', `unix:${dir}/${role},server=on,wait=off`],
    ...more,
  ]);

(typeof image === 'string' ? describe.skip : describe)('Debian kernel', () => {
  test(
    'a port of the host leads to the guest, before and after a failover',
    async () => {
      const { kernel, initrd } = image as GuestImage;
      const [port, colo] = [await freePort(), await freePort()];
      const log = join(dir, 'console');
      const p = side('primary', port, [
        ...['-kernel', kernel, '-initrd', initrd, '-serial', `file:${log}`],
        ...['-append', 'console=ttyS0 colo.ip=10.0.2.15 colo.port=7777 colo.pages=0'],
      ]);
      const s = side('secondary', port, ['-serial', 'null', '-incoming', `tcp:127.0.0.1:${colo}`]);
      const said = () => (existsSync(log) ? readFileSync(log, 'utf8') : '');
      await p.until('the guest', () => said().includes('ready'), LIMIT_MS);
      const primary = await p.qmp(`${dir}/primary`);
      const secondary = await s.qmp(`${dir}/secondary`);
      const { socket: first, count } = await firstAnswer(port);
      expect(count).toBe(1);

      const x = { capability: 'x-colo', state: true };
      await primary.execute('migrate-set-capabilities', { capabilities: [x] }, SOON_MS);
      await primary.execute('migrate', { uri: `tcp:127.0.0.1:${colo}` }, SOON_MS);
      await s.says('ready to take over');
      expect(await secondary.execute('x-query-usernet', {}, SOON_MS)).toMatchObject({
        'human-readable-text': expect.stringContaining('waits for the guest') as unknown,
      });
      expect(await ask(first)).toBe(2);

      const ended = new Promise(resolve => first.once('close', resolve));
      p.child.kill('SIGKILL');
      await ended;
      await s.says('protection was lost');
      await secondary.execute('x-colo-lost-heartbeat', {}, SOON_MS);
      await s.says('the guest goes on here');
      expect(await ask(await client(port))).toBe(3);
      await secondary.execute('quit', {}, SOON_MS);
      expect(await s.exited).toBe(0);
    },
    LIMIT_MS,
  );
});
