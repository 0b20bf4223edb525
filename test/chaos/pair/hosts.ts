/**
 * Two hosts of a pair: a network and a mount namespace each, with a disk of its own, links of its
 * own to the peer (checkpoints, disks), to the arbiter and to the client, and `colo run` in it.
 * Outside of both lie the arbiter, the client and a probe at each host's network.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { connectQmp } from '../../../src/commands/connect.js';
import { vmLine, type VmLine } from '../../../src/commands/survey.js';

export const hostNames = ['a', 'b'] as const;
export type HostName = (typeof hostNames)[number];
export const otherHost = (name: HostName): HostName => (name === 'a' ? 'b' : 'a');

/** What a host reaches the others by. */
export const links = ['migration', 'nbd', 'arbiter'] as const;
export type LinkName = (typeof links)[number];

/** Of both hosts; of a link to the arbiter the other end is the arbiter's. */
export const addressOf: Record<LinkName, Record<HostName, string>> = {
  migration: { a: '10.98.1.1', b: '10.98.1.2' },
  nbd: { a: '10.98.2.1', b: '10.98.2.2' },
  arbiter: { a: '10.98.3.1', b: '10.98.3.2' },
};
export const arbiterHost = '10.98.3.254';
export const guestAt = { client: '10.99.0.1', guest: '10.99.0.2', port: 7777 };
export const probeOf = (name: HostName) => `probe-${name}`;
export const vmName = (name: HostName) => `web-${name}`;

const colo = fileURLToPath(new URL('../../../bin/run.js', import.meta.url));
const TABLE = 'inet chaos';
const TAP = 'tap0';
const DISK_MIB = 64;
const ANSWER_MS = 1000;
const COMMAND_MS = 20_000;
const LAST_LINES = 15;

function run(command: string, args: readonly string[], input?: string): string {
  try {
    const timeout = COMMAND_MS;
    return execFileSync(command, args, { encoding: 'utf8', input, stdio: 'pipe', timeout });
  } catch (error) {
    const said = String((error as { stderr?: string }).stderr ?? error).trim();
    throw new Error(`${command} ${args.join(' ')}: ${said}`, { cause: error });
  }
}
const ip = (...words: string[]) => run('ip', words);

/** What is outside of both hosts: the client's network and the arbiter's. */
export function buildOutside(): void {
  ip('link', 'set', 'lo', 'up');
  bridge('br0', `${guestAt.client}/24`);
  // What the client says reaches both sides: a second one that runs answers too, and is seen.
  ip('link', 'set', 'br0', 'type', 'bridge', 'ageing_time', '0');
  bridge('arb0', `${arbiterHost}/24`);
}

function bridge(name: string, address?: string): void {
  ip('link', 'add', name, 'type', 'bridge');
  if (address !== undefined) ip('addr', 'add', address, 'dev', name);
  ip('link', 'set', name, 'up');
}

function plug(end: string, into: string): void {
  ip('link', 'set', end, 'master', into);
  ip('link', 'set', end, 'up');
}

/** A cut of one direction, or of both. */
export interface LinkCut {
  readonly link: LinkName;
  /** What this host sends there, what comes to it, or all. */
  readonly way: 'out' | 'in' | 'both';
}

export class NamespacedHost {
  private readonly keeper: ChildProcess;
  private readonly keeperGone: Promise<unknown>;
  private readonly cuts = new Set<LinkCut>();
  private supervisor: ChildProcess | undefined;
  /** Says how, when the supervisor that was started last is over. */
  supervisorGone: Promise<string> = new Promise(() => undefined);
  private lastPid: number | undefined;
  private readonly log: number;

  /** The keeper of the namespaces: who enters them names its process. */
  constructor(
    readonly name: HostName,
    private readonly dir: string,
  ) {
    for (const folder of ['disk', 'run']) mkdirSync(this.path(folder), { recursive: true });
    this.log = openSync(this.path('log'), 'a');
    writeFileSync(this.path('device'), '');
    run('truncate', ['-s', `${DISK_MIB}M`, this.path('device')]);
    run('mkfs.ext4', ['-q', '-m', '0', this.path('device')]);
    const mount = `mount -o loop,noatime ${this.path('device')} ${this.path('disk')}`;
    const script = `${mount} && echo ready && exec sleep infinity`;
    this.keeper = spawn('unshare', ['-n', '-m', 'sh', '-c', script], {
      stdio: ['ignore', 'pipe', this.log],
    });
    this.keeperGone = once(this.keeper, 'exit');
  }

  /** Its disk is there, and its end of each link. */
  async ready(): Promise<void> {
    const over = this.keeperGone.then(() => {
      throw new Error(`host ${this.name} was not made: see ${this.path('log')}`);
    });
    await Promise.race([once(this.keeper.stdout!, 'data'), over]);
    this.inside('ip', 'link', 'set', 'lo', 'up');
    this.lan();
    const arbiter = this.give('arbiter');
    plug(arbiter, 'arb0');
    this.filter();
  }

  path(file: string): string {
    return join(this.dir, this.name, file);
  }

  /** A file of its disk, as it is seen from outside. */
  fromOutside(file: string): string {
    return `/proc/${this.keeper.pid}/root${this.path(`disk/${file}`)}`;
  }

  private enter(...command: string[]): string[] {
    return ['-t', String(this.keeper.pid), '-n', '-m', ...command];
  }

  private inside(...command: string[]): string {
    return run('nsenter', this.enter(...command));
  }

  /** The tap, the client's network and a probe that sees what crosses between them. */
  private lan(): void {
    const hub = `hub-${this.name}`;
    this.inside('ip', 'link', 'add', 'lan0', 'type', 'bridge', 'ageing_time', '0');
    this.inside('ip', 'tuntap', 'add', TAP, 'mode', 'tap');
    for (const name of [TAP, 'lan0']) this.inside('ip', 'link', 'set', name, 'up');
    this.inside('ip', 'link', 'set', TAP, 'master', 'lan0');
    bridge(hub);
    // It forgets at once who is where, so that the probe gets every frame.
    ip('link', 'set', hub, 'type', 'bridge', 'ageing_time', '0');
    plug(this.give('lan'), hub);
    this.inside('ip', 'link', 'set', 'lan', 'master', 'lan0');
    const [one, two] = [`up-${this.name}`, `down-${this.name}`];
    ip('link', 'add', one, 'type', 'veth', 'peer', 'name', two);
    plug(one, 'br0');
    plug(two, hub);
    ip('tuntap', 'add', probeOf(this.name), 'mode', 'tap');
    plug(probeOf(this.name), hub);
  }

  /** One end goes in, under the link's name; gives the name of the one that stays outside. */
  private give(link: 'lan' | 'arbiter'): string {
    const outside = `${link}-${this.name}`;
    ip('link', 'add', outside, 'type', 'veth', 'peer', 'name', link, 'netns', this.pid);
    if (link === 'arbiter') this.address(link);
    this.inside('ip', 'link', 'set', link, 'up');
    return outside;
  }

  private get pid(): string {
    return String(this.keeper.pid);
  }

  private address(link: LinkName): void {
    this.inside('ip', 'addr', 'add', `${addressOf[link][this.name]}/24`, 'dev', link);
  }

  /** The links that have a host at each end. */
  static join(a: NamespacedHost, b: NamespacedHost): void {
    for (const link of ['migration', 'nbd'] as const) {
      const there = ['peer', 'name', link, 'netns', b.pid];
      ip('link', 'add', link, 'netns', a.pid, 'type', 'veth', ...there);
      for (const host of [a, b]) {
        host.address(link);
        host.inside('ip', 'link', 'set', link, 'up');
      }
    }
  }

  cut(cut: LinkCut): void {
    this.cuts.add(cut);
    this.filter();
  }

  mend(cut: LinkCut): void {
    this.cuts.delete(cut);
    this.filter();
  }

  private filter(): void {
    const drops = (way: 'out' | 'in', word: string) =>
      [...this.cuts]
        .filter(cut => cut.way === way || cut.way === 'both')
        .map(({ link }) => `${word} "${link}" drop;`)
        .join(' ');
    const chain = (hook: string, rules: string) =>
      `chain ${hook} { type filter hook ${hook} priority 0; ${rules} }`;
    const table =
      `table ${TABLE} {}\ndelete table ${TABLE}\ntable ${TABLE} {\n` +
      `${chain('output', drops('out', 'oifname'))}\n${chain('input', drops('in', 'iifname'))}\n}\n`;
    run('nsenter', this.enter('nft', '-f', '-'), table);
  }

  /** What it sends on that link has to pass a bottleneck. */
  narrow(link: LinkName, on: boolean): void {
    const shape = ['root', 'tbf', 'rate', '2mbit', 'burst', '16kbit', 'latency', '200ms'];
    const words = on ? ['replace', 'dev', link, ...shape] : ['del', 'dev', link, 'root'];
    this.inside('tc', 'qdisc', ...words);
  }

  /** No write to the disk ends before then. It thaws by itself, if this process dies too. */
  freeze(ms: number): void {
    const disk = this.path('disk');
    const script = `fsfreeze -f ${disk}; sleep ${ms / 1000}; fsfreeze -u ${disk}`;
    spawn('nsenter', this.enter('sh', '-c', script), { stdio: 'ignore' });
  }

  /** Nothing is left on the disk, or all of that again. */
  fill(on: boolean): void {
    const ballast = this.path('disk/ballast');
    if (!on) return void this.inside('rm', '-f', ballast);
    const all = `dd if=/dev/zero of=${ballast} bs=64k; sync -f ${ballast}; true`;
    this.inside('sh', '-c', all);
  }

  /** `colo run`, as a service manager would start it. */
  start(file: string): void {
    const env = { ...process.env, NODE_OPTIONS: '', XDG_RUNTIME_DIR: this.path('run') };
    this.supervisor = spawn('nsenter', this.enter(process.execPath, colo, 'run', file), {
      stdio: ['ignore', this.log, this.log],
      env,
    });
    this.supervisorGone = once(this.supervisor, 'exit').then(([code, signal]) => {
      return `${vmName(this.name)}: its supervisor has ended: ${signal ?? `code ${code}`}`;
    });
  }

  /** The last words of all that ran here. */
  get lastWords(): string {
    return readFileSync(this.path('log'), 'utf8')
      .trimEnd()
      .split('\n')
      .slice(-LAST_LINES)
      .join('\n');
  }

  /** False: there is none. */
  signalSupervisor(signal: NodeJS.Signals): boolean {
    return this.supervisor?.kill(signal) ?? false;
  }

  get supervised(): boolean {
    const { supervisor } = this;
    return supervisor !== undefined && supervisor.exitCode === null && !supervisor.signalCode;
  }

  /** What its VM says of itself; undefined: there is none, or it does not answer. */
  async look(): Promise<VmLine | undefined> {
    try {
      const line = vmLine(vmName(this.name), await this.order('query-vm'));
      this.lastPid = line.pid ?? undefined;
      return line;
    } catch {
      return undefined;
    }
  }

  /** False: there is no VM, as far as was known when it was looked at last. */
  signalVm(signal: NodeJS.Signals): boolean {
    const { lastPid } = this;
    if (lastPid === undefined || !this.isVm(lastPid)) return false;
    return process.kill(lastPid, signal);
  }

  /** Another process may have its number by now. */
  private isVm(pid: number): boolean {
    try {
      return readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes(this.dir);
    } catch {
      return false;
    }
  }

  private get monitor(): string {
    return join(this.path('run'), 'colo', vmName(this.name), 'qmp');
  }

  async order(command: string): Promise<unknown> {
    const client = await connectQmp({ kind: 'unix', path: this.monitor }, ANSWER_MS);
    return client.execute(command, undefined, ANSWER_MS).finally(() => client.dispose());
  }

  /** Its VM, its supervisor and its namespaces. */
  async dispose(): Promise<void> {
    for (const signal of ['SIGKILL', 'SIGCONT'] as const) this.signalSupervisor(signal);
    await this.look();
    for (const signal of ['SIGKILL', 'SIGCONT'] as const) this.signalVm(signal);
    this.keeper.kill('SIGKILL');
    await this.keeperGone;
    for (const link of [`lan-${this.name}`, `arbiter-${this.name}`, `up-${this.name}`])
      run('sh', ['-c', `ip link del ${link} 2>/dev/null; true`]);
    for (const link of [`hub-${this.name}`, probeOf(this.name)]) ip('link', 'del', link);
    closeSync(this.log);
  }
}
