/**
 * A primary and a secondary as a user would start them: two processes through the command line,
 * driven over QMP.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { GuestImage } from '../guest/build.js';
import { addresses, taps } from './network.js';
import { Qmp } from './qmp.js';

/** COLO_PROGRAM: another entry to the same command line. */
export const colo =
  process.env.COLO_PROGRAM ?? fileURLToPath(new URL('../../bin/run.js', import.meta.url));
const mac = '52:54:00:12:34:56';
/**
 * On an emulated processor a question costs milliseconds on either side, which the guest would have
 * used.
 */
const pollMs = 100;
export type Role = 'primary' | 'secondary';

export interface PairOptions {
  /** Everything of this pair: images, sockets, logs. */
  dir: string;
  guest: GuestImage;
  accel: string;
  /** Another one for the secondary. */
  secondaryAccel?: string;
  memoryMiB: number;
  /** vCPUs of both; default: 1. */
  cpus?: number;
  diskMiB: number;
  /** Period of checkpoints, ms. */
  delayMs: number;
  /** tcp on loopback, or unix. */
  transport: 'tcp' | 'unix';
  /** Guest options (test/guest/init.c). */
  append: string;
  env: Partial<Record<Role, Record<string, string>>>;
}

/** One process of the pair. */
export class Side {
  readonly child: ChildProcess;
  readonly exited: Promise<{ code: number | null; signal: string | null }>;
  qmp!: Qmp;

  constructor(
    readonly role: Role,
    private readonly dir: string,
    readonly args: string[],
    env: Record<string, string>,
  ) {
    const log = openSync(this.path('log'), 'w');
    this.child = spawn(process.execPath, [colo, role, ...args], {
      stdio: ['ignore', log, log],
      env: { ...process.env, XDG_RUNTIME_DIR: dir, ...env },
    });
    closeSync(log);
    this.exited = new Promise(resolve =>
      this.child.once('exit', (code, signal) => resolve({ code, signal })),
    );
  }

  path(kind: 'img' | 'qmp' | 'log' | 'serial'): string {
    return join(this.dir, `${this.role}.${kind}`);
  }

  get dead(): boolean {
    return this.child.exitCode !== null || this.child.signalCode !== null;
  }

  async attach(): Promise<void> {
    const early = this.exited.then(({ code }) => {
      throw new Error(`colo ${this.role} exited with ${code}:\n${this.log()}`);
    });
    this.qmp = await Promise.race([Qmp.open(this.path('qmp'), 120_000), early]);
  }

  log(): string {
    return readFileSync(this.path('log'), 'utf8').trim();
  }

  console(): string {
    return readFileSync(this.path('serial'), 'utf8');
  }

  /** For a failure: what stopped it, or where its guest is; empty: nothing is known. */
  async lastWords(): Promise<string> {
    const query = this.dead ? undefined : this.qmp?.execute('query-status').catch(() => undefined);
    const state = ((await query) as { status?: string } | undefined)?.status;
    if (state === 'io-error')
      return `; the guest stands still: its image in ${this.dir} could not be written`;
    const console = existsSync(this.path('serial'))
      ? this.console().trim().split('\n').slice(-3)
      : [];
    const log = this.log().split('\n').slice(-3);
    const lines = [...log, ...console]
      .filter(line => line !== '')
      .map(line => `\n  ${line.trim()}`);
    return `; the ${this.role} is ${this.dead ? 'gone' : (state ?? 'silent')}${lines.join('')}`;
  }

  /** For a person: how to see this. */
  get commandLine(): string {
    return ['colo', this.role, ...this.args.map(a => (/[ ;]/.test(a) ? `'${a}'` : a))].join(' ');
  }

  kill(signal: NodeJS.Signals): void {
    if (!this.dead) this.child.kill(signal);
  }
}

export class Pair {
  readonly primary: Side;
  readonly secondary: Side;

  private constructor(private readonly options: PairOptions) {
    mkdirSync(options.dir, { recursive: true });
    this.secondary = this.start('secondary');
    this.primary = this.start('primary');
  }

  /** Both processes up and their monitors answering. The guest does not run yet (-S). */
  static async start(options: PairOptions): Promise<Pair> {
    const pair = new Pair(options);
    try {
      await Promise.all([pair.primary.attach(), pair.secondary.attach()]);
    } catch (error) {
      pair.dispose();
      throw error;
    }
    return pair;
  }

  private start(role: Role): Side {
    const { dir, guest, options } = { ...this.options, options: this.options };
    const image = join(dir, `${role}.img`);
    writeFileSync(image, '');
    truncateSync(image, options.diskMiB << 20);
    const accel = role === 'secondary' ? (options.secondaryAccel ?? options.accel) : options.accel;
    const common = [
      '-name',
      role,
      '-m',
      String(options.memoryMiB),
      '-accel',
      accel,
      '-smp',
      String(options.cpus ?? 1),
      '-monitor',
      'none',
    ];
    const wires = [
      '-qmp',
      `unix:${join(dir, `${role}.qmp`)},server=on,wait=off`,
      '-serial',
      `file:${join(dir, `${role}.serial`)}`,
    ];
    const nic = [
      '-netdev',
      `tap,id=hn0,ifname=${taps[role]},script=no,downscript=no`,
      '-device',
      `virtio-net-pci,id=net0,netdev=hn0,mac=${mac}`,
    ];
    const args = role === 'primary' ? this.primaryArgs(image, guest) : this.secondaryArgs(image);
    return new Side(role, dir, [...common, ...args, ...nic, ...wires], options.env[role] ?? {});
  }

  private primaryArgs(image: string, guest: GuestImage): string[] {
    const append =
      `console=ttyS0 quiet cryptomgr.notests colo.ip=${addresses.guest} ` +
      `colo.port=${addresses.port} ${this.options.append}`;
    const disk =
      'if=virtio,id=colo-disk0,driver=quorum,read-pattern=fifo,vote-threshold=1,' +
      `children.0.file.filename=${image},children.0.driver=raw`;
    return [
      '-S',
      '-kernel',
      guest.kernel,
      '-initrd',
      guest.initrd,
      '-append',
      append,
      '-drive',
      disk,
    ];
  }

  private secondaryArgs(image: string): string[] {
    const base = `if=none,id=colo-disk0,file.filename=${image},driver=raw,node-name=base0`;
    const overlay =
      'if=virtio,id=active-disk0,driver=replication,mode=secondary,file.driver=memory,' +
      'file.backing.driver=memory,file.backing.backing=colo-disk0';
    return ['-drive', base, '-drive', overlay, '-incoming', this.migrationUri()];
  }

  private migrationUri(): string {
    return this.options.transport === 'tcp'
      ? 'tcp:127.0.0.1:8888'
      : `unix:${join(this.options.dir, 'migration.sock')}`;
  }

  /** The replica behind the primary's disk, and the guest may run. */
  async attachReplica(): Promise<void> {
    const { primary, secondary } = this;
    await secondary.qmp.execute('nbd-server-start', {
      addr: { type: 'inet', data: { host: '127.0.0.1', port: '8889' } },
    });
    await secondary.qmp.execute('nbd-server-add', { device: 'colo-disk0', writable: true });
    await primary.qmp.hmp(
      'drive_add -n buddy ' +
        'driver=replication,mode=primary,file.driver=nbd,file.host=127.0.0.1,file.port=8889,' +
        'file.export=colo-disk0,node-name=node0',
    );
    await primary.qmp.execute('x-blockdev-change', { parent: 'colo-disk0', node: 'node0' });
    await primary.qmp.execute('cont');
  }

  /**
   * From here the guest is protected; returns when query-migrate says `colo` and the first state is
   * whole.
   */
  async protect(timeoutMs: number): Promise<void> {
    const { qmp } = this.primary;
    await qmp.execute('migrate-set-capabilities', {
      capabilities: [{ capability: 'x-colo', state: true }],
    });
    await this.setDelay(this.options.delayMs);
    await qmp.execute('migrate', { uri: this.migrationUri() });
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      const info = (await qmp.execute('query-migrate')) as {
        status: string;
        'error-desc'?: string;
      };
      if (info.status === 'colo') break;
      if (info.status === 'failed')
        throw new Error(`migration failed: ${info['error-desc'] ?? this.primary.log()}`);
      if (performance.now() > deadline)
        throw new Error(`not protected after ${timeoutMs} ms: ${info.status}`);
      await new Promise(resolve => setTimeout(resolve, pollMs));
    }
    await this.waitForCheckpoints(1, timeoutMs);
  }

  async setDelay(ms: number): Promise<void> {
    await this.primary.qmp.execute('migrate-set-parameters', { 'x-checkpoint-delay': ms });
  }

  async waitForCheckpoints(count: number, timeoutMs: number): Promise<void> {
    const deadline = performance.now() + timeoutMs;
    while ((await this.statistics()).checkpoints < count) {
      if (performance.now() > deadline)
        throw new Error(`fewer than ${count} checkpoints after ${timeoutMs} ms`);
      await new Promise(resolve => setTimeout(resolve, pollMs));
    }
  }

  async statistics(): Promise<CheckpointStatistics> {
    const status = (await this.primary.qmp.execute('query-colo-status')) as {
      statistics?: CheckpointStatistics;
    };
    return (
      status.statistics ?? {
        checkpoints: 0,
        pauseMs: { p50: 0, p99: 0 },
        pagesPerCheckpoint: 0,
        bytesPerCheckpoint: 0,
      }
    );
  }

  dispose(): void {
    for (const side of [this.primary, this.secondary]) {
      side.qmp?.close();
      side.kill('SIGCONT');
      side.kill('SIGKILL');
    }
  }
}

/** As query-colo-status gives it on the primary (our addition to QEMU's answer). */
export interface CheckpointStatistics {
  checkpoints: number;
  pauseMs: { p50: number; p99: number };
  pagesPerCheckpoint: number;
  bytesPerCheckpoint: number;
}
