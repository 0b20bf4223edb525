// `npm test`: lint and types are separate (`npm run lint`); this runs jest in ESM mode and passes its arguments on.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const jest = fileURLToPath(import.meta.resolve('jest/bin/jest'));
const args = ['--experimental-vm-modules', '--disable-warning=ExperimentalWarning', jest, '--runInBand', ...process.argv.slice(2)];
const { status } = spawnSync(process.execPath, args, { stdio: 'inherit' });
process.exitCode = status ?? 1;
