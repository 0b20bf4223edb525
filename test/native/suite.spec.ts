/**
 * Goal: the native parts on their own: CPU against the host's, chips, page tables, dirty log,
 * threads. Method: build and run native/test.
 */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const folder = fileURLToPath(new URL('../../native/test', import.meta.url));

test('make -C native/test check', () => {
  const { status, stdout, stderr } = spawnSync('make', ['-C', folder, '-j2', 'check'], {
    encoding: 'utf8',
    timeout: 900_000,
  });
  if (status !== 0) throw new Error(`${stdout.slice(-4000)}\n${stderr.slice(-4000)}`);
  const summaries = stdout.match(/^\d+ passed, \d+ failed/gm) ?? [];
  expect(summaries.length).toBeGreaterThanOrEqual(5);
  expect(summaries.every(line => line.endsWith(' 0 failed'))).toBe(true);
}, 900_000);
