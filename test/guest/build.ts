/**
 * Kernel and initramfs of demo and tests: fetched and built once, kept under the XDG cache
 * directory. prepareGuest() wants a network; guestImage() is content with what that left.
 */
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cpio, type CpioEntry } from './cpio.js';
import {
  cacheDir,
  cloudKernel,
  fetchKernel,
  fullKernel,
  kernelTree,
  makeCacheDir,
  type Tell,
} from './kernel.js';
import { tool } from './tool.js';

export interface GuestImage {
  kernel: string;
  initrd: string;
}

/**
 * kernel: a bzImage or vmlinux instead of Debian's; modules: its unpacked tree (without one,
 * everything must be built in).
 */
export interface GuestChoice {
  kernel?: string;
  tree?: string;
  /** With the modules of an IDE disk, too. */
  ide?: boolean;
  /** With those of a USB tablet: on the kernel for every machine. */
  usb?: boolean;
  /** With that of an e1000: on the same kernel. */
  e1000?: boolean;
}

/** In load order; one that the kernel has built in is skipped. */
const modules = [
  'virtio_ring',
  'virtio',
  'virtio_pci_modern_dev',
  'virtio_pci_legacy_dev',
  'virtio_pci',
  'failover',
  'net_failover',
  'virtio_net',
  'virtio_blk',
];

const ideModules = ['scsi_common', 'scsi_mod', 'libata', 'ata_piix', 'sd_mod'];
const usbModules = ['usb-common', 'usbcore', 'uhci-hcd', 'hid', 'usbhid', 'hid-generic', 'evdev'];

/** Found in one walk: over a network file system each costs seconds. */
function moduleEntries(tree: string, wanted: readonly string[]): CpioEntry[] {
  const all = readdirSync(join(tree, 'lib', 'modules'), { withFileTypes: true, recursive: true });
  const found = new Map(
    all.map(entry => [entry.name, join(entry.parentPath ?? entry.path, entry.name)]),
  );
  const files = wanted.map(name => found.get(`${name}.ko`)).filter(path => path !== undefined);
  return files.map((path, i) => ({
    path: `mods/${String(i).padStart(2, '0')}`,
    mode: 0o100644,
    data: readFileSync(path),
  }));
}

const short = (hashed: string | Buffer) =>
  createHash('sha256').update(hashed).digest('hex').slice(0, 16);

/** Whole, or not there. */
function put(path: string, bytes: Buffer): void {
  makeCacheDir();
  writeFileSync(`${path}.${process.pid}`, bytes);
  renameSync(`${path}.${process.pid}`, path);
}

/** The compiled init is kept by the hash of its source. */
function compiledInit(): Buffer {
  const source = fileURLToPath(new URL('init.c', import.meta.url));
  const kept = join(cacheDir(), `init-${short(readFileSync(source))}`);
  if (existsSync(kept)) return readFileSync(kept);
  const program = compileInit(source);
  put(kept, program);
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

const packageOf = ({ usb, e1000 }: GuestChoice) => (usb || e1000 ? fullKernel : cloudKernel);

/** Downloads and builds what is not kept yet. */
export async function prepareGuest(choice: GuestChoice, tell: Tell): Promise<GuestImage> {
  if (choice.kernel === undefined) await fetchKernel(packageOf(choice), tell);
  return guestImage(choice);
}

/**
 * For a spec: the image (of COLO_TEST_KERNEL and COLO_TEST_MODULES, if they are set), or why there
 * is none, which is printed.
 */
export async function imageOrReason(choice: GuestChoice = {}): Promise<GuestImage | string> {
  try {
    const { COLO_TEST_KERNEL: kernel, COLO_TEST_MODULES: tree } = process.env;
    return await prepareGuest({ ...choice, kernel, tree }, () => undefined);
  } catch (error) {
    console.log(`skipped: ${(error as Error).message}`);
    return (error as Error).message;
  }
}

/** From what is kept; without a network. */
export function guestImage(choice: GuestChoice = {}): GuestImage {
  const tree = choice.kernel ? choice.tree : kernelTree(packageOf(choice));
  const boot = tree && join(tree, 'boot');
  const kernel =
    choice.kernel ??
    join(
      boot!,
      readdirSync(boot!).find(f => f.startsWith('vmlinuz-'))!,
    );
  const directories: CpioEntry[] = ['dev', 'proc', 'sys', 'mods'].map(path => ({
    path,
    mode: 0o040755,
  }));
  const console: CpioEntry = {
    path: 'dev/console',
    mode: 0o020600,
    device: { major: 5, minor: 1 },
  };
  const init: CpioEntry = { path: 'init', mode: 0o100755, data: compiledInit() };
  const more = [
    ...(choice.ide ? ideModules : []),
    ...(choice.usb ? usbModules : []),
    ...(choice.e1000 ? ['e1000'] : []),
  ];
  const wanted = [...modules, ...more];
  const archive = cpio([
    ...directories,
    console,
    init,
    ...(tree ? moduleEntries(tree, wanted) : []),
  ]);
  const initrd = join(cacheDir(), `initrd-${short(archive)}.cpio`);
  if (!existsSync(initrd)) put(initrd, archive);
  return { kernel, initrd };
}
