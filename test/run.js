// `npm test`: lint and types are separate (`npm run lint`); this runs jest in ESM mode and passes
// its arguments on.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const jest = fileURLToPath(import.meta.resolve('jest/bin/jest'));
const args = [
  '--experimental-vm-modules',
  '--disable-warning=ExperimentalWarning',
  jest,
  '--runInBand',
  ...process.argv.slice(2),
];
// The VMs of a run have names of their own: they meet neither a user's nor those of another run.
const runtime = mkdtempSync(join(tmpdir(), 'colo-run-'));
const { status } = spawnSync(process.execPath, args, {
  stdio: 'inherit',
  env: { ...process.env, XDG_RUNTIME_DIR: runtime },
});
rmSync(runtime, { recursive: true, force: true });
process.exitCode = status ?? 1;
