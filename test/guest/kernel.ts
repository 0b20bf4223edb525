/**
 * Debian's kernel packages, unpacked: downloaded once, kept in colo's folder of the XDG cache.
 * Whoever works in a network namespace of its own calls fetchKernel() before it enters: inside
 * there is no network to download from, and only what is kept can be used.
 */
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, isAbsolute, join } from 'node:path';
import type { Readable } from 'node:stream';
import { createInterface } from 'node:readline';
import { makeFolder } from '../../src/host/node/folder.js';
import { tool, toolFailed } from './tool.js';

/** A line for people; percent: how much of it is done. */
export type Tell = (line: string, percent?: number) => void;

export interface KernelPackage {
  /** Debian's package that depends on the newest kernel of its kind. */
  readonly newest: string;
  /** Its folder in the cache. */
  readonly folder: string;
}

/** Small and quick to boot: drivers for virtual machines only. */
export const cloudKernel: KernelPackage = { newest: 'linux-image-cloud-amd64', folder: 'kernel' };

/** Of Debian's own for every machine: with 9p and USB, which the other one has not. */
export const fullKernel: KernelPackage = { newest: 'linux-image-amd64', folder: 'l1/tree' };

export function cacheDir(): string {
  const given = process.env.XDG_CACHE_HOME;
  return join(given && isAbsolute(given) ? given : join(homedir(), '.cache'), 'colo');
}

/** For what is to be kept there. */
export function makeCacheDir(): string {
  try {
    makeFolder(cacheDir());
    return cacheDir();
  } catch (error) {
    const why = (error as NodeJS.ErrnoException).code;
    const way = 'set XDG_CACHE_HOME to a folder that can be written';
    throw new Error(`nothing can be kept in ${cacheDir()} (${why}): ${way}`, { cause: error });
  }
}

const treeOf = ({ folder }: KernelPackage) => join(cacheDir(), folder);
export const isKept = (wanted: KernelPackage) => existsSync(join(treeOf(wanted), 'boot'));

/** The unpacked tree (boot/, lib/modules/) that fetchKernel() left. */
export function kernelTree(wanted: KernelPackage): string {
  if (isKept(wanted)) return treeOf(wanted);
  throw new Error(`no kernel is kept in ${treeOf(wanted)}, and this is no place to download one`);
}

/** Gives the unpacked tree; downloads what is not kept yet. */
export async function fetchKernel(wanted: KernelPackage, tell: Tell): Promise<string> {
  if (isKept(wanted)) return treeOf(wanted);
  const work = mkdtempSync(join(makeCacheDir(), 'fetch-'));
  try {
    await download(newestOf(wanted), work, tell);
    const deb = readdirSync(work).find(f => f.endsWith('.deb'));
    if (!deb) throw new Error(`apt-get download left no package of ${wanted.newest}`);
    tool('dpkg-deb', ['-x', deb, 'tree'], 'dpkg', work);
    keep(join(work, 'tree'), wanted);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  return treeOf(wanted);
}

const ownKernel = 'or give --kernel FILE and --modules DIR';

function newestOf({ newest }: KernelPackage): string {
  let depends = '';
  try {
    depends = tool('apt-cache', ['depends', newest], `apt (Debian's), ${ownKernel}`);
  } catch (error) {
    // Without lists apt-cache fails instead of finding nothing.
    if (!/failed/.test((error as Error).message)) throw error;
  }
  const name = /Depends: (linux-image-\S+)/.exec(depends)?.[1];
  if (name) return name;
  throw new Error(
    `apt-cache does not know ${newest}: run \`apt-get update\` as root first, ${ownKernel}`,
  );
}

/** Another process may have been quicker: what it keeps may be in use already. */
function keep(tree: string, wanted: KernelPackage): void {
  makeFolder(dirname(treeOf(wanted)));
  try {
    renameSync(tree, treeOf(wanted));
  } catch (error) {
    if (isKept(wanted)) return;
    if (!existsSync(treeOf(wanted))) throw error;
    rmSync(treeOf(wanted), { recursive: true });
    renameSync(tree, treeOf(wanted));
  }
}

const options = [
  'APT::Sandbox::User=root',
  'APT::Status-Fd=3',
  'Acquire::Retries=2',
  'Acquire::http::Timeout=30',
];

async function download(name: string, into: string, tell: Tell): Promise<void> {
  const words = ['download', ...options.flatMap(option => ['-o', option]), name];
  const [, bytes] =
    /\.deb (\d+) /.exec(tool('apt-get', ['download', '--print-uris', name], 'apt')) ?? [];
  const what = `downloading ${name}${bytes ? `, ${(Number(bytes) / 1e6).toFixed(1)} MB` : ''}`;
  tell(what);
  const apt = spawn('apt-get', words, { cwd: into, stdio: ['ignore', 'ignore', 'pipe', 'pipe'] });
  // dlstatus:N:PERCENT:sentence, as apt's README.progress-reporting has it.
  createInterface({ input: apt.stdio[3] as Readable }).on('line', line => {
    const percent = /^dlstatus:\d+:([\d.]+):/.exec(line)?.[1];
    if (percent !== undefined) tell(what, Math.floor(Number(percent)));
  });
  let stderr = '';
  apt.stderr?.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  const failed = await new Promise<object | undefined>(resolve => {
    apt.once('error', error => resolve(error));
    apt.once('close', code =>
      resolve(code === 0 ? undefined : { stderr: stderr || `exit code ${code}` }),
    );
  });
  if (failed) {
    const { message } = toolFailed('apt-get', ['download', name], 'apt', failed);
    throw new Error(
      `${message}\nIs there a network? Old package lists: run \`apt-get update\` as root, ` +
        `${ownKernel}.`,
    );
  }
  tell(what, 100);
}

/** On a terminal one line that counts; elsewhere a line for the start and one for each quarter. */
export function progress(stream: NodeJS.WriteStream, line: (text: string) => void): Tell {
  let shown = 0;
  return (text, percent) => {
    if (percent === undefined) {
      shown = 0;
      if (!stream.isTTY) line(text);
    } else if (stream.isTTY) {
      stream.write(`\r${text}: ${percent} %${percent >= 100 ? '\n' : ''}`);
    } else if (percent < 100 && percent >= shown + 25) {
      line(`${percent} %`);
      shown = percent;
    }
  };
}
