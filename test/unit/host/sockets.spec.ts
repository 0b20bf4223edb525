/** Goal: the name of a Unix socket never costs anybody a file, and each refusal is the real one. Method: real sockets in a directory of the test. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { NodeSockets } from '../../../src/host/node/sockets.js';

const dir = mkdtempSync(join(tmpdir(), 'colo-sock-'));
afterAll(() => rmSync(dir, { recursive: true }));
const sockets = new NodeSockets();
const listen = (path: string) => sockets.listen({ kind: 'unix', path }, () => undefined);

test('a file that is no socket stays', async () => {
  const path = join(dir, 'disk.img');
  writeFileSync(path, 'precious');
  await expect(listen(path)).rejects.toThrow(`Failed to listen on '${path}': there is a file of that name, and it is not a socket`);
  expect(readFileSync(path, 'utf8')).toBe('precious');
});

test('a socket that a dead process left behind is taken over, a live one is not', async () => {
  const path = join(dir, 'live');
  const live = await listen(path);
  await expect(listen(path)).rejects.toThrow('Address already in use');
  live.dispose();
  const stale = join(dir, 'stale');
  spawnSync(process.execPath, ['-e', `require('net').createServer().listen(${JSON.stringify(stale)}, () => process.kill(process.pid, 'SIGKILL'))`]);
  expect(existsSync(stale)).toBe(true);
  (await listen(stale)).dispose();
}, 20_000);

test('a directory that is missing is called missing', async () => {
  await expect(listen(join(dir, 'no', 'x'))).rejects.toThrow('No such file or directory');
});

test('a path that Node would cut off is refused', async () => {
  const path = join(dir, 'x'.repeat(120));
  await expect(listen(path)).rejects.toThrow('is too long');
  await expect(sockets.connect({ kind: 'unix', path }, { timeoutMs: 1000 })).rejects.toThrow('is too long');
});
