/** The ELF inside of a bzImage: whoever enters it does without real mode and decompression, which is half of a boot on an emulated processor. */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const XZ = Buffer.from([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]);

export function bzImageOf(tree: string): string {
  const boot = join(tree, 'boot');
  return join(boot, readdirSync(boot).find(f => f.startsWith('vmlinuz-'))!);
}

/** Unpacked once, to `out`. */
export function vmlinuxOf(tree: string, out: string): string {
  if (existsSync(out)) return out;
  const image = readFileSync(bzImageOf(tree));
  const packed = `${out}.xz.${process.pid}`;
  writeFileSync(packed, image.subarray(image.indexOf(XZ)));
  try {
    // What follows the stream in the bzImage is not xz's: --single-stream leaves it alone.
    writeFileSync(`${out}.${process.pid}`, execFileSync('xz', ['-dc', '--single-stream', packed], { stdio: ['ignore', 'pipe', 'pipe'], maxBuffer: 1 << 28 }));
  } finally {
    rmSync(packed);
  }
  renameSync(`${out}.${process.pid}`, out);
  return out;
}
