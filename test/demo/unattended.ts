/**
 * A pair that nobody watches, measured: `colo run` on both sides and an arbiter. A whole host is
 * lost, VM and supervisor by kill -9, and comes back; the next kill hits the other one. One client
 * counts over one connection all the while.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import type { GuestImage } from '../guest/build.js';
import { CountingClient } from './client.js';
import { addresses, taps } from './network.js';
import { colo } from './pair.js';
import { Qmp } from './qmp.js';
import { proveRecords } from './records.js';

export interface UnattendedOptions {
  /** Everything of this pair: images, sockets, logs. */
  readonly dir: string;
  readonly guest: GuestImage;
  readonly accel: string;
  readonly memoryMiB: number;
  readonly delayMs: number;
  readonly kills: number;
  /** Hosts fall silent (SIGSTOP) where others die; they are killed when the other side goes on. */
  readonly silent: boolean;
  readonly limitMs: number;
  readonly tell: (what: string) => void;
}

/** One host lost and back, ms. */
export interface Loss {
  /** From the signal to the guest's first answer to anybody: what colo takes. */
  guestMs: number;
  /** From the signal to the client's next answer; what is beyond guestMs, its own TCP waits for. */
  clientMs: number;
  /** From the start of the lost side's supervisor to the first whole checkpoint there. */
  protectedMs: number;
  /** Of the disk, while the host was away and until it was in step again. */
  writtenBytes: number;
  /** To its disk, for it to be in step again. */
  copiedBytes: number;
}

export interface UnattendedResult {
  losses: Loss[];
  median: Loss;
  answers: number;
  error?: string;
}

const pollMs = 10;
const names = { a: 'web-primary', b: 'web-secondary' };
type Side = keyof typeof names;
const other = { a: 'b', b: 'a' } as const;
/** Nothing listens there: a living guest refuses at once. */
const closedPort = 9;
const idle = (ms: number) => new Promise<void>(resolve => setTimeout(resolve, ms));

export const medianOf = (values: readonly number[]) => {
  const sorted = [...values].sort((x, y) => x - y);
  return Math.round(sorted[sorted.length >> 1]);
};

/** Needs the demo's network, with both taps free. */
export async function runUnattended(options: UnattendedOptions): Promise<UnattendedResult> {
  const { kills, limitMs, tell } = options;
  const pair = new Unattended(options);
  const client = new CountingClient();
  try {
    await client.start(addresses.guest, addresses.port, limitMs);
    await pair.protectedBy('a');
    tell('two `colo run` and an arbiter keep a pair; nobody is there');
    const losses: Loss[] = [];
    for (let n = 0; n < kills; n++) {
      await client.answers(10, limitMs);
      losses.push(await pair.lose(n % 2 === 0 ? 'a' : 'b', client));
      const { guestMs, clientMs, protectedMs, writtenBytes, copiedBytes } = losses.at(-1)!;
      const what = options.silent ? 'SIGSTOP' : 'kill -9';
      tell(
        `${what} of a host: the guest answers after ${guestMs} ms, its client has its next ` +
          `answer after ${clientMs} ms; protected ${protectedMs} ms after the host's return, ` +
          `${copiedBytes} bytes of the disk copied for ${writtenBytes} that were written`,
      );
    }
    client.stop();
    const of = (name: keyof Loss) => medianOf(losses.map(loss => loss[name]));
    const median = {
      guestMs: of('guestMs'),
      clientMs: of('clientMs'),
      protectedMs: of('protectedMs'),
      writtenBytes: of('writtenBytes'),
      copiedBytes: of('copiedBytes'),
    };
    await pair.end();
    return { losses, median, answers: client.report.answers, ...verdict(pair, client) };
  } catch (error) {
    throw new Error(`${(error as Error).message}\n${pair.lastWords()}`, { cause: error });
  } finally {
    client.stop();
    pair.dispose();
  }
}

/** Both images have what the client was told of: it has stopped before the replica ended. */
function verdict(pair: Unattended, { report }: CountingClient): { error?: string } {
  if (report.error) return { error: report.error };
  const { gaps, repeats, memoryErrors, recordsTold } = report;
  if (gaps + repeats + memoryErrors > 0)
    return { error: `${gaps} gaps, ${repeats} repeats, ${memoryErrors} memory errors` };
  for (const side of ['a', 'b'] as const) {
    const { firstBad } = proveRecords(pair.image(side), recordsTold);
    if (firstBad !== undefined)
      return { error: `record ${firstBad} is not in the image of ${side}` };
  }
  return {};
}

interface Protected {
  atMs: number;
  /** By the guest since this process has it. */
  writtenBytes: number;
  copiedBytes: number;
}

interface DiskAnswer {
  copied?: number;
  stats?: { wr_bytes: number };
}
const sum = (answer: unknown, of: (disk: DiskAnswer) => number | undefined) =>
  ((answer ?? []) as DiskAnswer[]).reduce((total, disk) => total + (of(disk) ?? 0), 0);

class Unattended {
  owner: Side = 'a';
  private readonly supervisors = new Map<Side, ChildProcess>();

  constructor(private readonly options: UnattendedOptions) {
    mkdirSync(join(options.dir, 'arbiter'), { recursive: true });
    writeFileSync(join(options.dir, 'web.json'), JSON.stringify(this.definition()));
    this.start('b');
    this.start('a');
  }

  image(side: Side): string {
    return join(this.options.dir, `${side}.img`);
  }

  private definition() {
    const { dir, guest, accel, memoryMiB, delayMs } = this.options;
    const at = (port: number) => `tcp:127.0.0.1:${port}`;
    return {
      name: 'web',
      memory: `${memoryMiB}M`,
      accel,
      kernel: guest.kernel,
      initrd: guest.initrd,
      append:
        `console=ttyS0 quiet cryptomgr.notests colo.ip=${addresses.guest} ` +
        `colo.port=${addresses.port}`,
      'checkpoint-delay': delayMs,
      arbiter: `file:${join(dir, 'arbiter')}`,
      peer: { migration: at(8892), nbd: at(8893) },
      back: { migration: at(8890), nbd: at(8891) },
      disks: [{ primary: 'a.img', secondary: 'b.img', size: '128M' }],
      network: [{ ...taps, mac: '52:54:00:12:34:57' }],
    };
  }

  private start(side: Side): void {
    const { dir } = this.options;
    const log = openSync(join(dir, `${side}.log`), 'a');
    const supervisor = spawn(
      process.execPath,
      [colo, 'run', join(dir, 'web.json'), '--side', side],
      { stdio: ['ignore', log, log], env: { ...process.env, XDG_RUNTIME_DIR: dir } },
    );
    closeSync(log);
    this.supervisors.set(side, supervisor);
  }

  /** Until the VM of this side is the primary of a pair with a whole checkpoint. */
  async protectedBy(side: Side): Promise<Protected> {
    const deadline = performance.now() + this.options.limitMs;
    const monitor = await Qmp.open(
      join(this.options.dir, 'colo', names[side], 'qmp'),
      this.options.limitMs,
    );
    try {
      for (;;) {
        const status = (await monitor.execute('query-colo-status')) as Record<string, unknown>;
        if (status.mode === 'primary' && status['last-checkpoint-ms'] !== undefined)
          return {
            atMs: performance.now(),
            copiedBytes: sum(status.disks, disk => disk.copied),
            writtenBytes: sum(
              await monitor.execute('query-blockstats'),
              disk => disk.stats?.wr_bytes,
            ),
          };
        if (performance.now() > deadline)
          throw new Error(`not protected after ${this.options.limitMs} ms`);
        await idle(5 * pollMs);
      }
    } finally {
      monitor.close();
    }
  }

  async lose(side: Side, client: CountingClient): Promise<Loss> {
    const supervisor = this.supervisors.get(side)!;
    const [vm] = childrenOf(supervisor.pid!);
    if (vm === undefined) throw new Error(`${names[side]} has no process`);
    const killed = performance.now();
    const both = (signal: NodeJS.Signals) => {
      process.kill(vm, signal);
      supervisor.kill(signal);
    };
    both(this.options.silent ? 'SIGSTOP' : 'SIGKILL');
    const [guest] = await Promise.all([
      this.guestAnswers(),
      client.answers(1, this.options.limitMs),
    ]);
    const clientMs = client.lastAnswerMs - killed;
    if (this.options.silent) both('SIGKILL');
    this.owner = other[side];
    const returned = performance.now();
    this.start(side);
    const whole = await this.protectedBy(this.owner);
    return {
      guestMs: Math.round(guest - killed),
      clientMs: Math.round(clientMs),
      protectedMs: Math.round(whole.atMs - returned),
      writtenBytes: whole.writtenBytes,
      copiedBytes: whole.copiedBytes,
    };
  }

  private async guestAnswers(): Promise<number> {
    const deadline = performance.now() + this.options.limitMs;
    for (;;) {
      const at = await new Promise<number | undefined>(resolve => {
        const socket = connect({ host: addresses.guest, port: closedPort });
        const late = setTimeout(() => done(undefined), pollMs);
        const done = (ms: number | undefined) => {
          clearTimeout(late);
          socket.destroy();
          resolve(ms);
        };
        socket.on('error', ({ code }: NodeJS.ErrnoException) =>
          done(code === 'ECONNREFUSED' ? performance.now() : undefined),
        );
      });
      if (at !== undefined) return at;
      if (performance.now() > deadline)
        throw new Error(`the guest does not answer within ${this.options.limitMs} ms`);
    }
  }

  /** In order: the guest's side last. */
  async end(): Promise<void> {
    for (const side of [other[this.owner], this.owner]) {
      const supervisor = this.supervisors.get(side)!;
      if (supervisor.exitCode !== null || supervisor.signalCode !== null) continue;
      await new Promise<void>((resolve, reject) => {
        const why = `the supervisor of ${names[side]} does not end`;
        const late = setTimeout(() => reject(new Error(why)), this.options.limitMs);
        supervisor.once('exit', () => resolve(clearTimeout(late)));
        supervisor.kill('SIGTERM');
      });
    }
  }

  lastWords(): string {
    return (['a', 'b'] as const)
      .flatMap(side => {
        const log = readFileSync(join(this.options.dir, `${side}.log`), 'utf8').trim();
        return log
          .split('\n')
          .slice(-5)
          .map(line => `  ${side}: ${line}`);
      })
      .join('\n');
  }

  dispose(): void {
    for (const supervisor of this.supervisors.values()) {
      if (supervisor.exitCode !== null || supervisor.pid === undefined) continue;
      for (const vm of childrenOf(supervisor.pid)) process.kill(vm, 'SIGKILL');
      supervisor.kill('SIGKILL');
    }
  }
}

function childrenOf(parent: number): number[] {
  return readdirSync('/proc')
    .filter(name => /^\d+$/.test(name))
    .map(Number)
    .filter(pid => parentOf(pid) === parent);
}

function parentOf(pid: number): number | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
  } catch {
    return undefined; // gone meanwhile
  }
}
