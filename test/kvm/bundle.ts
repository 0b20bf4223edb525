/**
 * The programs of tier 2 as single files under build/kvm/run: they see `native` at the distances
 * that the sources do.
 */
import { copyFileSync, existsSync, mkdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = fileURLToPath(new URL('../../', import.meta.url));

export interface Programs {
  colo: string;
  demo: string;
  chaos: string;
  boot: string;
  carry: string;
}

export async function bundle(): Promise<Programs> {
  const dir = join(root, 'build', 'kvm', 'run');
  mkdirSync(dir, { recursive: true });
  if (!existsSync(join(root, 'build/kvm/native')))
    symlinkSync('../../native', join(root, 'build/kvm/native'));
  if (!existsSync(join(root, 'build/native'))) symlinkSync('../native', join(root, 'build/native'));
  copyFileSync(join(root, 'test/guest/init.c'), join(dir, 'init.c'));
  const one = async (entry: string, name: string) => {
    const outfile = join(dir, `${name}.mjs`);
    const banner = {
      js:
        "import { createRequire as makeRequire } from 'node:module'; const require = " +
        'makeRequire(import.meta.url);',
    };
    await build({
      entryPoints: [join(root, entry)],
      outfile,
      bundle: true,
      platform: 'node',
      format: 'esm',
      target: 'node20',
      external: ['node-gyp-build'],
      banner,
      minifyWhitespace: true,
      minifySyntax: true,
      logLevel: 'error',
    });
    return outfile;
  };
  return {
    colo: await one('test/kvm/launch.ts', 'colo'),
    demo: await one('test/demo/main.ts', 'demo'),
    chaos: await one('test/chaos/main.ts', 'chaos'),
    boot: await one('test/kvm/boot.ts', 'boot'),
    carry: await one('test/kvm/carry.ts', 'carry'),
  };
}
