/**
 * `colo primary` and `colo secondary` without the command-line framework: bundled into one file,
 * for a nested Linux loads hundreds of files slowly.
 */
import { parseLaunch, type Role } from '../../src/commands/options/spec.js';
import { runVm } from '../../src/commands/vm/run.js';

const [role, ...argv] = process.argv.slice(2);
const note = (line: string) => void process.stderr.write(`colo ${role}: ${line}\n`);
try {
  const status = await runVm(parseLaunch(role as Role, argv), {
    version: { major: 0, minor: 0, micro: 0, package: 'colo' },
    note,
    logInto: path => note(`logfile ${path}: not in this test`),
  });
  process.stdout.write('', () => process.exit(status));
} catch (error) {
  note(`Error: ${(error as Error).message}`);
  process.exit(1);
}
