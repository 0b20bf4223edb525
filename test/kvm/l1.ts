/**
 * A throw-away Linux with a real /dev/kvm: Debian's kernel under qemu's software SVM, with this
 * host's files below it (9p, read-only, a RAM overlay on top). One processor: SVM under qemu hangs
 * with two at CMPXCHG16B. Guests see no AVX there, for its XSETBV is not intercepted.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { cpio, type CpioEntry } from '../guest/cpio.js';
import { cacheDir, fetchKernel, fullKernel, kernelTree, type Tell } from '../guest/kernel.js';

const cache = join(cacheDir(), 'l1');
const wanted = ['kvm-amd', 'virtio_pci', '9p', '9pnet_virtio', 'overlay', 'tun', 'bridge'];
const XZ = Buffer.from([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]);
const knownWarning = /warning: TCG doesn't support requested feature/;

export const packages = {
  'qemu-system-x86_64': 'qemu-system-x86',
  busybox: 'busybox-static',
  xz: 'xz-utils',
  'dpkg-deb': 'dpkg',
  'apt-get': 'apt',
} as const;

/** Debian packages that are not there. */
export function missingPackages(): string[] {
  const there = (program: string) =>
    (process.env.PATH ?? '').split(':').some(dir => existsSync(join(dir, program)));
  return Object.entries(packages).flatMap(([program, name]) => (there(program) ? [] : [name]));
}

function run(command: string, args: string[], cwd?: string): Buffer {
  return execFileSync(command, args, {
    cwd,
    stdio: ['ignore', 'pipe', 'pipe'],
    maxBuffer: 1 << 28,
  });
}

/**
 * The ELF inside of the bzImage: qemu enters it at once by its PVH note, without real mode and
 * decompression.
 */
function vmlinux(tree: string): string {
  const out = join(cache, 'vmlinux');
  if (existsSync(out)) return out;
  const image = readFileSync(
    join(
      tree,
      'boot',
      readdirSync(join(tree, 'boot')).find(f => f.startsWith('vmlinuz-'))!,
    ),
  );
  const packed = `${out}.xz.${process.pid}`;
  writeFileSync(packed, image.subarray(image.indexOf(XZ)));
  try {
    // What follows the stream in the bzImage is not xz's: --single-stream leaves it alone.
    writeFileSync(`${out}.${process.pid}`, run('xz', ['-dc', '--single-stream', packed]));
  } finally {
    rmSync(packed);
  }
  renameSync(`${out}.${process.pid}`, out);
  return out;
}

/** Module files in the order in which they are loaded. */
function modules(tree: string): string[] {
  const files = readdirSync(join(tree, 'lib/modules'), {
    recursive: true,
    withFileTypes: true,
  }).filter(e => e.name.endsWith('.ko'));
  const byName = new Map(
    files.map(e => [
      e.name.slice(0, -3).replaceAll('-', '_'),
      join(e.parentPath ?? e.path, e.name),
    ]),
  );
  const order: string[] = [];
  const seen = new Set<string>();
  const visit = (name: string) => {
    const key = name.replaceAll('-', '_');
    const path = byName.get(key);
    if (path === undefined || seen.has(key)) return; // built in, or loaded
    seen.add(key);
    const depends = /\0depends=([^\0]*)\0/.exec(readFileSync(path).toString('latin1'))?.[1] ?? '';
    depends.split(',').filter(Boolean).forEach(visit);
    order.push(path);
  };
  wanted.forEach(visit);
  return order;
}

const init = `#!/bin/busybox sh
export PATH=/bin:/sbin:/usr/bin:/usr/sbin
/bin/busybox --install -s /bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
for m in /mods/*; do insmod $m || echo "insmod $m failed"; done
O=trans=virtio,version=9p2000.L,msize=524288
mount -t 9p -o $O,ro,cache=loose host /lo && mount -t tmpfs rw /rw && mkdir /rw/u /rw/w || poweroff -f
mount -t overlay -o lowerdir=/lo,upperdir=/rw/u,workdir=/rw/w ov /mnt || poweroff -f
mount -t proc p /mnt/proc; mount -t devtmpfs d /mnt/dev; mount -t sysfs s /mnt/sys; mkdir -p /mnt/dev/pts /mnt/dev/shm
mount -t devpts d /mnt/dev/pts; mount -t tmpfs t /mnt/dev/shm; mount -t tmpfs t /mnt/run; ifconfig lo 127.0.0.1 up
cp /command /mnt/.command
chroot /mnt /bin/bash /.command <>/dev/ttyS0
poweroff -f
`;

function initramfs(tree: string, command: string): Buffer {
  const directory = (path: string): CpioEntry => ({ path, mode: 0o040755 });
  const busybox = (process.env.PATH ?? '')
    .split(':')
    .map(dir => join(dir, 'busybox'))
    .find(existsSync)!;
  return cpio([
    ...['bin', 'mods', 'dev', 'proc', 'sys', 'lo', 'rw', 'mnt', 'etc'].map(directory),
    { path: 'dev/console', mode: 0o020600, device: { major: 5, minor: 1 } },
    { path: 'bin/busybox', mode: 0o100755, data: readFileSync(busybox) },
    { path: 'init', mode: 0o100755, data: Buffer.from(init) },
    { path: 'command', mode: 0o100755, data: Buffer.from(command) },
    ...modules(tree).map((path, i) => ({
      path: `mods/${String(i).padStart(2, '0')}`,
      mode: 0o100644,
      data: readFileSync(path),
    })),
  ]);
}

/** Downloads and unpacks what is not there yet. */
export async function prepareL1(tell: Tell): Promise<void> {
  vmlinux(await fetchKernel(fullKernel, tell));
}

const ready = '@@ready';
const over = '@@over';

/**
 * Jobs come by the console, one line of base64 each: a job's files and processes are its own to
 * clean up, its network is not the next one's.
 */
const jobLoop = `stty -echo
echo ${ready}
while read -r job; do
  unshare -n bash -c "$(echo "$job" | base64 -d)" </dev/null
  echo ${over}
done
`;

/**
 * One such Linux, booted at its first job: what it has read of the host's files stays in its memory
 * for the next.
 */
export class L1 {
  private child?: ChildProcess;
  private dir?: string;
  private onLine: (line: string) => void = () => undefined;
  private onOver: () => void = () => undefined;
  private readonly end = () => void this.child?.kill('SIGKILL');

  /**
   * Runs a bash script as root; every line of its output goes to onLine, so does why it ended
   * early: then the next job finds a fresh L1.
   */
  async run(script: string, timeoutMs: number, onLine: (line: string) => void): Promise<void> {
    this.onLine = onLine;
    const timer = setTimeout(() => {
      onLine(`the job did not end within ${timeoutMs / 1000} s`);
      this.end();
    }, timeoutMs);
    try {
      if (!this.child) await this.boot();
      await this.untilOver(() =>
        this.child?.stdin?.write(`${Buffer.from(script).toString('base64')}\n`),
      );
    } finally {
      clearTimeout(timer);
    }
  }

  async dispose(): Promise<void> {
    if (this.child) await this.untilOver(this.end);
  }

  /** Until the job or L1 itself has ended. */
  private untilOver(begin: () => void): Promise<void> {
    return new Promise(resolve => {
      this.onOver = resolve;
      begin();
      if (!this.child) resolve();
    });
  }

  private boot(): Promise<void> {
    const tree = kernelTree(fullKernel);
    const dir = (this.dir = mkdtempSync(join(tmpdir(), 'colo-l1-')));
    const environment =
      `export PATH=${dirOfNode()}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin ` +
      `HOME=${homedir()} XDG_CACHE_HOME=${dirname(cacheDir())} LANG=C.UTF-8 NO_COLOR=1\n`;
    writeFileSync(join(dir, 'initrd'), initramfs(tree, environment + jobLoop));
    const args = [
      '-accel',
      'tcg',
      '-M',
      'q35',
      '-cpu',
      'EPYC',
      '-smp',
      '1',
      '-m',
      '2G',
      '-display',
      'none',
      '-nodefaults',
      '-no-reboot',
      '-serial',
      'stdio',
      '-kernel',
      vmlinux(tree),
      '-initrd',
      join(dir, 'initrd'),
      '-append',
      'console=ttyS0 quiet loglevel=3 mitigations=off no_timer_check panic=-1',
      '-fsdev',
      'local,id=h,path=/,security_model=none,readonly=on,multidevs=remap',
      '-device',
      'virtio-9p-pci,fsdev=h,mount_tag=host',
    ];
    const child = (this.child = spawn('qemu-system-x86_64', args, {
      stdio: ['pipe', 'pipe', 'pipe'],
    }));
    process.once('exit', this.end);
    child.stdin.on('error', () => undefined); // it is gone, and 'close' says so
    child.on('error', error => this.onLine(`qemu-system-x86_64: ${error.message}`));
    for (const stream of [child.stdout, child.stderr])
      createInterface(stream).on('line', line => this.heard(line.replaceAll('\r', '')));
    child.once('close', () => this.gone());
    return this.untilOver(() => undefined);
  }

  private heard(line: string): void {
    if (line === ready || line === over) this.onOver();
    else if (!knownWarning.test(line)) this.onLine(line);
  }

  private gone(): void {
    process.off('exit', this.end);
    if (this.dir) rmSync(this.dir, { recursive: true, force: true });
    this.child = undefined;
    this.onOver();
  }
}

function dirOfNode(): string {
  return join(process.execPath, '..');
}
