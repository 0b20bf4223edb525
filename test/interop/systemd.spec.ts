/**
 * Goal: systemd reads the unit of the package as it is meant. Method: `systemd-analyze verify` of
 * an instance, and a mistake in it that must be told (skipped by name where there is no systemd).
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { read, root } from '../support/sources.js';

const analyze = '/usr/bin/systemd-analyze';
const withSystemd = existsSync(analyze) ? test : test.skip;
const unit = read('packaging/systemd/colo@.service');

/** What systemd says against a unit; it looks for programs in fixed places. */
function complaints(text: string): string {
  const dir = mkdtempSync(join(tmpdir(), 'colo-unit-'));
  const path = join(dir, 'colo@web.service');
  writeFileSync(path, text.replace('ExecStart=colo ', `ExecStart=${join(root, 'bin/run.js')} `));
  const { stderr } = spawnSync(analyze, ['verify', '--man=no', path], { encoding: 'utf8' });
  rmSync(dir, { recursive: true });
  return stderr
    .split('\n')
    .filter(line => line.includes('colo@'))
    .join('\n');
}

withSystemd('the unit is verified (skipped where systemd is not installed)', () => {
  expect(complaints(unit)).toBe('');
  expect(complaints(unit.replace('KillMode=process', 'KillMode=proces'))).toContain('proces');
});

test('a supervisor that ends never takes its VM along, and no guest is started in a circle', () => {
  for (const line of [
    'Type=notify',
    'KillMode=process',
    'OOMPolicy=continue',
    'Restart=on-failure',
    'RestartPreventExitStatus=2',
    'RuntimeDirectoryPreserve=yes',
  ])
    expect(unit.split('\n')).toContain(line);
});
