/**
 * Goal: however a process or a worker ends, threads are joined and nothing crashes. Method:
 * processes that end at bad moments.
 */
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const fixture = fileURLToPath(new URL('./teardown-fixture.ts', import.meta.url));

function run(way: string): Promise<{ code: number | null; signal: string | null; out: string }> {
  return new Promise(resolve => {
    const child = spawn(process.execPath, ['--expose-gc', '--import', 'tsx', fixture, way], {
      timeout: 25_000,
    });
    let out = '';
    child.stdout.on('data', (bytes: Buffer) => (out += bytes.toString()));
    child.stderr.on('data', (bytes: Buffer) => (out += bytes.toString()));
    child.on('close', (code, signal) => resolve({ code, signal, out }));
  });
}

test.each(['exit', 'idle', 'dispose', 'throws', 'collect', 'held', 'terminate', 'worker-exit'])(
  '%s',
  async way => {
    expect(await run(way)).toEqual({ code: 0, signal: null, out: 'alive\n' });
  },
);
