/**
 * Goal: the name of a Unix socket never costs anybody a file, and each refusal is the real one.
 * Method: real sockets in a directory of the test.
 */
import { spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { NodeFiles } from '../../../src/host/node/files.js';
import { NodeSockets } from '../../../src/host/node/sockets.js';

const dir = mkdtempSync(join(tmpdir(), 'colo-sock-'));
afterAll(() => rmSync(dir, { recursive: true }));
const sockets = new NodeSockets();
const listen = (path: string) => sockets.listen({ kind: 'unix', path }, () => undefined);

test('a file that is no socket stays', async () => {
  const path = join(dir, 'disk.img');
  writeFileSync(path, 'precious');
  await expect(listen(path)).rejects.toThrow(
    `Failed to listen on '${path}': there is a file of that name, and it is not a socket`,
  );
  expect(readFileSync(path, 'utf8')).toBe('precious');
});

test('a socket that a dead process left behind is taken over, a live one is not', async () => {
  const path = join(dir, 'live');
  const live = await listen(path);
  await expect(listen(path)).rejects.toThrow('Address already in use');
  live.dispose();
  const stale = join(dir, 'stale');
  spawnSync(process.execPath, [
    '-e',
    `require('net').createServer().listen(${JSON.stringify(stale)}, () => ` +
      `process.kill(process.pid, 'SIGKILL'))`,
  ]);
  expect(existsSync(stale)).toBe(true);
  (await listen(stale)).dispose();
}, 20_000);

test('a directory that is missing is called missing', async () => {
  await expect(listen(join(dir, 'no', 'x'))).rejects.toThrow('No such file or directory');
});

test('a path that Node would cut off is refused', async () => {
  const path = join(dir, 'x'.repeat(120));
  await expect(listen(path)).rejects.toThrow('is too long');
  await expect(sockets.connect({ kind: 'unix', path }, { timeoutMs: 1000 })).rejects.toThrow(
    'is too long',
  );
});

test('two that find the same dead socket: one has the name, and it is reached there', async () => {
  for (let round = 0; round < 10; round++) {
    const path = join(dir, `race${round}`);
    const script =
      `require('net').createServer().listen(${JSON.stringify(path)}, () => ` +
      `process.kill(process.pid, 'SIGKILL'))`;
    spawnSync(process.execPath, ['-e', script]);
    const reached: number[] = [];
    const starters = Array.from({ length: 4 }, (_, n) =>
      new NodeSockets()
        .listen({ kind: 'unix', path }, stream => {
          reached.push(n);
          stream.destroy();
        })
        .catch(() => undefined),
    );
    const won = (await Promise.all(starters)).map(listener => listener !== undefined);
    expect(won.filter(Boolean)).toHaveLength(1);
    const stream = await new NodeSockets().connect({ kind: 'unix', path }, { timeoutMs: 5000 });
    await new Promise<void>(resolve => stream.onEnd(() => resolve()));
    expect(reached).toEqual([won.indexOf(true)]);
    expect(
      readdirSync(dir).filter(name => name.includes('stale.') || name.endsWith('.stale')),
    ).toEqual([]);
    stream.destroy();
    for (const starter of starters) (await starter)?.dispose();
  }
}, 30_000);

test('a state is not written through a link that lies where its new file would', async () => {
  const victim = join(dir, 'victim');
  writeFileSync(victim, 'mine');
  symlinkSync(victim, join(dir, 'state.part'));
  await expect(new NodeFiles().replace(join(dir, 'state'), 0o600)).rejects.toThrow(
    'Could not open',
  );
  expect(readFileSync(victim, 'utf8')).toBe('mine');
});
