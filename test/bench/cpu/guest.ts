/** The guest of bench:cpu: Debian's cloud kernel and an initramfs that holds one static program. */
import { mkdtempSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cpio, type CpioEntry } from '../../guest/cpio.js';
import { cloudKernel, fetchKernel, type Tell } from '../../guest/kernel.js';
import { tool } from '../../guest/tool.js';

export interface BenchGuest {
  readonly kernel: string;
  readonly initrd: string;
  /** The same program, for the host. */
  readonly program: string;
}

export async function benchGuest(tell: Tell): Promise<BenchGuest> {
  const boot = join(await fetchKernel(cloudKernel, tell), 'boot');
  const kernel = join(
    boot,
    readdirSync(boot).find(file => file.startsWith('vmlinuz-'))!,
  );
  const dir = mkdtempSync(join(tmpdir(), 'colo-bench-cpu-'));
  const program = join(dir, 'init');
  const source = fileURLToPath(new URL('kernels.c', import.meta.url));
  tool('gcc', ['-static', '-O2', '-Wall', '-o', program, source], 'gcc libc6-dev');
  const folders: CpioEntry[] = ['dev', 'proc'].map(path => ({ path, mode: 0o040755 }));
  const console: CpioEntry = {
    path: 'dev/console',
    mode: 0o020600,
    device: { major: 5, minor: 1 },
  };
  const init: CpioEntry = { path: 'init', mode: 0o100755, data: readFileSync(program) };
  const initrd = join(dir, 'initrd.cpio');
  writeFileSync(initrd, cpio([...folders, console, init]));
  return { kernel, initrd, program };
}
