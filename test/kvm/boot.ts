/**
 * Boots Linux on KVM by colo's own command line until its init says that it is ready; one line of
 * JSON. Runs inside the nested Linux.
 * --cpus N: as many vCPUs, and the kernel's word that it brought up all of them. --cpu MODEL: as of
 * -cpu.
 */
import { spawn } from 'node:child_process';
import { parseArgs } from 'node:util';
import { guestImage } from '../guest/build.js';

const limitMs = 180_000;
const guest = guestImage();
const program = process.env.COLO_PROGRAM!;
const args = parseArgs({
  options: { cpus: { type: 'string', default: '1' }, cpu: { type: 'string', default: 'soft-v1' } },
}).values;
const several = args.cpus !== '1';
const append = `console=ttyS0 ${several ? '' : 'quiet '}cryptomgr.notests`;
const from = performance.now();
const child = spawn(
  process.execPath,
  [
    program,
    'primary',
    '-m',
    '128',
    '-accel',
    'kvm',
    '-smp',
    args.cpus,
    '-cpu',
    args.cpu,
    '-kernel',
    guest.kernel,
    '-initrd',
    guest.initrd,
    '-append',
    append,
    '-serial',
    'stdio',
    '-monitor',
    'none',
  ],
  { stdio: ['ignore', 'pipe', 'pipe'] },
);
let text = '';
const timer = setTimeout(() => child.kill('SIGKILL'), limitMs);
const look = (chunk: Buffer) => {
  text += chunk.toString();
  if (text.includes('colo-guest: ready')) child.kill('SIGTERM');
};
child.stdout.on('data', look);
child.stderr.on('data', look);
child.once('exit', () => {
  clearTimeout(timer);
  const ok =
    text.includes('colo-guest: ready') &&
    (!several || text.includes(`Brought up 1 node, ${args.cpus} CPUs`));
  console.log(
    JSON.stringify({
      ok,
      ms: Math.round(performance.now() - from),
      error: ok ? undefined : text.slice(-600),
    }),
  );
});
