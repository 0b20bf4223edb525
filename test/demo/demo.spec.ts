/**
 * Goal: what the README promises. Method: the demo itself, a real Linux guest, kill -9, both
 * proofs; then two chaos runs, one of them a kill inside the protocol. Skipped by name where a
 * network namespace cannot be made.
 */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { UnattendedResult } from './unattended.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const namespaces =
  spawnSync('unshare', process.getuid?.() === 0 ? ['-n', 'true'] : ['-Urn', 'true']).status === 0;
const real = namespaces ? test : test.skip;

function json(script: string, ...args: string[]) {
  const { stdout, stderr, status } = spawnSync(
    process.execPath,
    ['--import', 'tsx', script, '--json', ...args],
    { cwd: root, encoding: 'utf8', timeout: 280_000 },
  );
  const last = stdout.trim().split('\n').at(-1) ?? '';
  if (!last.startsWith('{')) throw new Error(`${script} said: ${stdout}${stderr}`);
  return { status, result: JSON.parse(last) as Record<string, unknown> };
}

real(
  'a guest survives kill -9 of its primary: one connection, every record',
  () => {
    const { status, result } = json('test/demo/main.ts', '--kills', '2');
    expect(result).toMatchObject({
      ok: true,
      counterGaps: 0,
      counterRepeats: 0,
      recordsProven: result['recordsTold'],
    });
    // Then with nobody there: either host is lost once, and comes back.
    const { losses, answers } = result['unattended'] as UnattendedResult;
    expect(losses.length).toBe(2);
    expect(answers).toBeGreaterThan(20);
    expect(result['checkpoints']).toBeGreaterThan(10);
    // As many as the guest gets to write in one period of a machine that has other work, too.
    expect(result['pagesPerCheckpoint']).toBeGreaterThanOrEqual(200);
    expect(result['recordsTold']).toBeGreaterThan(100);
    expect(status).toBe(0);
  },
  300_000,
);

real(
  'chaos: one kill at a random time, one at a step of the protocol',
  () => {
    const { status, result } = json('test/chaos/main.ts', '--runs', '2');
    expect(result).toMatchObject({
      runs: 2,
      violations: 0,
      hits: { 'primary-sent-checkpoint-request': 1 },
    });
    expect(status).toBe(0);
  },
  300_000,
);
