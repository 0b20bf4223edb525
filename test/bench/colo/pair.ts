/** One pair of bench:colo: two processes on this host, without a disk and a network. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, openSync, closeSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Qmp } from '../../demo/qmp.js';
import { type Seen, parseSeen, seenCommand } from './guest.js';
import type { Load } from './loads.js';

const colo =
  process.env.COLO_PROGRAM ?? fileURLToPath(new URL('../../../bin/run.js', import.meta.url));
const START_MS = 60_000;
const later = (ms: number) => new Promise(resolve => setTimeout(resolve, ms));

/** One line of the trace, as the primary writes it. */
export interface CheckpointLine {
  pauseMs: number;
  receivedMs: number;
  pages: number;
  ramBytes: number;
}

export class BenchPair {
  private readonly dir: string;
  private readonly sides: Record<'primary' | 'secondary', ChildProcess>;
  private qmp!: Qmp;

  constructor(
    parent: string,
    kernel: string,
    { pages, kind, every, memoryMiB }: Load,
    private readonly accel: string,
    private readonly transport: string,
  ) {
    this.dir = mkdtempSync(join(parent, 'pair-'));
    const append = `pages=${pages} kind=${kind} every=${every}`;
    const trace = ['-trace', 'colo_checkpoint_done', '-D', this.tracePath];
    this.sides = {
      secondary: this.start('secondary', memoryMiB, ['-incoming', this.uri]),
      primary: this.start('primary', memoryMiB, ['-kernel', kernel, '-append', append, ...trace]),
    };
  }

  private get tracePath(): string {
    return join(this.dir, 'trace');
  }
  private get uri(): string {
    return this.transport === 'unix' ? `unix:${join(this.dir, 'wire')}` : this.transport;
  }

  private start(role: string, memoryMiB: number, args: string[]): ChildProcess {
    const log = openSync(join(this.dir, `${role}.log`), 'w');
    const qmp = `unix:${join(this.dir, `${role}.qmp`)},server=on,wait=off`;
    const common = ['-name', role, '-m', `${memoryMiB}`, '-accel', this.accel, '-monitor', 'none'];
    const child = spawn(process.execPath, [colo, role, ...common, '-qmp', qmp, ...args], {
      stdio: ['ignore', log, log],
      env: { ...process.env, XDG_RUNTIME_DIR: this.dir },
    });
    closeSync(log);
    return child;
  }

  /** Both monitors answer, and the guest has gone through its pages once. */
  async ready(): Promise<void> {
    (await Qmp.open(join(this.dir, 'secondary.qmp'), START_MS)).close();
    this.qmp = await Qmp.open(join(this.dir, 'primary.qmp'), START_MS);
    await this.until(async () => (await this.seen()).rounds > 1, 'the guest does nothing');
  }

  async seen(): Promise<Seen> {
    const answer = await this.qmp.execute('human-monitor-command', { 'command-line': seenCommand });
    return parseSeen(String(answer));
  }

  /** Protected, and some checkpoints old. */
  async protect(delayMs: number): Promise<void> {
    const { qmp } = this;
    const capabilities = [{ capability: 'x-colo', state: true }];
    await qmp.execute('migrate-set-capabilities', { capabilities });
    await qmp.execute('migrate-set-parameters', { 'x-checkpoint-delay': delayMs });
    await qmp.execute('migrate', { uri: this.uri });
    await this.until(() => Promise.resolve(this.lines().length > 2), 'no checkpoint is made');
  }

  /** Of all checkpoints so far. */
  lines(): CheckpointLine[] {
    const text = readFileSync(this.tracePath, 'utf8').split('\n');
    return text.filter(line => line.includes('colo_checkpoint_done ')).map(parseLine);
  }

  /** CPU time so far, ms: of the primary without its vCPU, and of the secondary. */
  async cpuMs(): Promise<{ primary: number; secondary: number }> {
    const cpus = (await this.qmp.execute('query-cpus-fast')) as { 'thread-id': number }[];
    const vcpus = cpus.map(cpu => `${cpu['thread-id']}`);
    const { primary, secondary } = this.sides;
    return { primary: threadMs(primary, vcpus), secondary: threadMs(secondary, []) };
  }

  private async until(done: () => Promise<boolean>, failure: string): Promise<void> {
    for (const deadline = performance.now() + START_MS; !(await done());) {
      const log = () => readFileSync(join(this.dir, 'primary.log'), 'utf8');
      if (performance.now() > deadline) throw new Error(`${failure}\n${log()}`);
      await later(100);
    }
  }

  async dispose(): Promise<void> {
    this.qmp?.close();
    for (const child of Object.values(this.sides)) {
      const exited = new Promise(resolve => child.once('exit', resolve));
      if (child.exitCode === null && child.kill('SIGKILL')) await exited;
    }
    rmSync(this.dir, { recursive: true });
  }
}

/** Of the process's threads but these, by proc(5) in ticks of 10 ms. */
function threadMs({ pid }: ChildProcess, without: string[]): number {
  const threads = readdirSync(`/proc/${pid}/task`).filter(id => !without.includes(id));
  const ticks = threads.map(id => {
    const stat = readFileSync(`/proc/${pid}/task/${id}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return Number(fields[11]) + Number(fields[12]);
  });
  return ticks.reduce((all, n) => all + n, 0) * 10;
}

function parseLine(line: string): CheckpointLine {
  const field = (name: string) => Number(new RegExp(` ${name}=([0-9.]+)`).exec(line)?.[1]);
  return {
    pauseMs: field('pauseMs'),
    receivedMs: field('receivedMs'),
    pages: field('pages'),
    ramBytes: field('ramBytes'),
  };
}
