/** Kernel and initramfs of demo and tests: fetched and built once, kept under the XDG cache directory. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cpio, type CpioEntry } from './cpio.js';

export interface GuestImage {
  kernel: string;
  initrd: string;
}

/** In load order; one that the kernel has built in is skipped. */
const modules = ['virtio_ring', 'virtio', 'virtio_pci_modern_dev', 'virtio_pci_legacy_dev', 'virtio_pci', 'failover', 'net_failover', 'virtio_net', 'virtio_blk'];

const cacheDir = () => join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'colo');

export class MissingTool extends Error {}

function tool(command: string, args: string[], packageName: string, cwd?: string): string {
  try {
    return execFileSync(command, args, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') throw new MissingTool(`${command} is missing: apt-get install ${packageName}`);
    const detail = String((error as { stderr?: string }).stderr ?? '').trim();
    throw new Error(`${command} ${args.join(' ')} failed: ${detail || String(error)}`);
  }
}

/** Name of the package that Debian's linux-image-cloud-amd64 depends on today. */
function cloudKernel(): string {
  const hint = 'apt-cache does not know linux-image-cloud-amd64: run `apt-get update` first, or give --kernel FILE and --modules DIR';
  let depends: string;
  try {
    depends = tool('apt-cache', ['depends', 'linux-image-cloud-amd64'], 'apt');
  } catch (error) {
    // Without lists apt-cache fails instead of finding nothing.
    throw error instanceof MissingTool ? error : new Error(hint, { cause: error });
  }
  const name = /Depends: (linux-image-\S+)/.exec(depends)?.[1];
  if (!name) throw new Error(hint);
  return name;
}

/** The unpacked package tree of Debian's cloud kernel (boot/, lib/modules/). */
export function kernelTree(): string {
  const kept = join(cacheDir(), 'kernel');
  if (existsSync(join(kept, 'boot'))) return kept;
  mkdirSync(cacheDir(), { recursive: true });
  const work = mkdtempSync(join(cacheDir(), 'fetch-'));
  try {
    const name = cloudKernel();
    tool('apt-get', ['download', '-o', 'APT::Sandbox::User=root', name], 'apt', work);
    const deb = readdirSync(work).find(f => f.endsWith('.deb'));
    if (!deb) throw new Error(`apt-get download ${name} left no package`);
    tool('dpkg-deb', ['-x', deb, 'tree'], 'dpkg', work);
    rmSync(kept, { recursive: true, force: true });
    renameSync(join(work, 'tree'), kept);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  return kept;
}

/** Found in one walk: over a network file system each costs seconds. */
function moduleEntries(tree: string): CpioEntry[] {
  const all = readdirSync(join(tree, 'lib', 'modules'), { withFileTypes: true, recursive: true });
  const found = new Map(all.map(entry => [entry.name, join(entry.parentPath ?? entry.path, entry.name)]));
  const files = modules.map(name => found.get(`${name}.ko`)).filter(path => path !== undefined);
  return files.map((path, i) => ({ path: `mods/${String(i).padStart(2, '0')}`, mode: 0o100644, data: readFileSync(path) }));
}

/** The compiled init is kept by the hash of its source. */
function compiledInit(): Buffer {
  const source = fileURLToPath(new URL('init.c', import.meta.url));
  const kept = join(cacheDir(), `init-${createHash('sha256').update(readFileSync(source)).digest('hex').slice(0, 16)}`);
  if (existsSync(kept)) return readFileSync(kept);
  const program = compileInit(source);
  mkdirSync(cacheDir(), { recursive: true });
  writeFileSync(`${kept}.${process.pid}`, program);
  renameSync(`${kept}.${process.pid}`, kept);
  return program;
}

function compileInit(source: string): Buffer {
  const dir = mkdtempSync(join(tmpdir(), 'colo-init-'));
  try {
    const out = join(dir, 'init');
    tool('gcc', ['-static', '-O2', '-Wall', '-o', out, source, '-lpthread'], 'gcc libc6-dev');
    return readFileSync(out);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

/** kernel: a bzImage or vmlinux instead of Debian's; modules: its unpacked tree (without one, everything must be built in). */
export function guestImage(options: { kernel?: string; tree?: string } = {}): GuestImage {
  const tree = options.kernel ? options.tree : kernelTree();
  const boot = tree && join(tree, 'boot');
  const kernel = options.kernel ?? join(boot!, readdirSync(boot!).find(f => f.startsWith('vmlinuz-'))!);
  const directories: CpioEntry[] = ['dev', 'proc', 'sys', 'mods'].map(path => ({ path, mode: 0o040755 }));
  const console: CpioEntry = { path: 'dev/console', mode: 0o020600, device: { major: 5, minor: 1 } };
  const init: CpioEntry = { path: 'init', mode: 0o100755, data: compiledInit() };
  const archive = cpio([...directories, console, init, ...(tree ? moduleEntries(tree) : [])]);
  const initrd = join(cacheDir(), `initrd-${createHash('sha256').update(archive).digest('hex').slice(0, 16)}.cpio`);
  mkdirSync(cacheDir(), { recursive: true });
  if (!existsSync(initrd)) {
    const fresh = `${initrd}.${process.pid}`;
    writeFileSync(fresh, archive);
    renameSync(fresh, initrd);
  }
  return { kernel, initrd };
}
