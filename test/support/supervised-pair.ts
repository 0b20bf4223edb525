/**
 * A pair that supervisors keep, on one host: its definition with a guest of two instructions, and
 * how its VMs stand, without a process for each look.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { connectQmp } from '../../src/commands/connect.js';
import { vmLine, type VmLine } from '../../src/commands/survey.js';
import { ColoProcess } from './colo-process.js';
import { fakeKernel } from './fake-kernel.js';
import { Assembler } from './toy-guest.js';

export type PairSide = 'a' | 'b';
const LIMIT_MS = 120_000;

export class SupervisedPair {
  readonly dir = mkdtempSync(join(tmpdir(), 'colo-kept-'));
  readonly file = join(this.dir, 'toy.yaml');
  readonly env: NodeJS.ProcessEnv = { XDG_RUNTIME_DIR: this.dir };
  private readonly supervisors: ColoProcess[] = [];
  private readonly pids = new Set<number>();

  /** lines: of the definition, for this pair's folder. */
  constructor(lines: (dir: string) => readonly string[]) {
    const { dir } = this;
    const code = Buffer.from(new Assembler(0).incDword(0x80_0000).hlt().code());
    writeFileSync(join(dir, 'vmlinuz'), fakeKernel({ code }));
    const at = (name: string) =>
      `{migration: "unix:${join(dir, `${name}-mig`)}", nbd: "unix:${join(dir, `${name}-nbd`)}"}`;
    const all = [
      'name: toy',
      'memory: 32M',
      'accel: soft',
      'kernel: vmlinuz',
      'checkpoint-delay: 20',
      `peer: ${at('peer')}`,
      `back: ${at('back')}`,
      'disks: [{primary: p.img, secondary: s.img, size: 4M}]',
      ...lines(dir),
    ];
    writeFileSync(this.file, `${all.join('\n')}\n`);
  }

  nameOf(side: PairSide): string {
    return side === 'a' ? 'toy-primary' : 'toy-secondary';
  }

  run(side: PairSide): ColoProcess {
    const supervisor = new ColoProcess(['run', this.file, '--side', side], { env: this.env });
    this.supervisors.push(supervisor);
    return supervisor;
  }

  /** undefined: there is none, or it does not answer. */
  async look(side: PairSide): Promise<VmLine | undefined> {
    const name = this.nameOf(side);
    const path = join(this.dir, 'colo', name, 'qmp');
    if (!existsSync(path)) return undefined;
    try {
      const client = await connectQmp({ kind: 'unix', path }, 1000);
      const asked = client.execute('query-vm', undefined, 1000);
      const line = vmLine(name, await asked.finally(() => client.dispose()));
      if (line.pid !== null) this.pids.add(line.pid);
      return line;
    } catch {
      return undefined;
    }
  }

  async until(side: PairSide, what: Partial<VmLine>): Promise<VmLine> {
    let line: VmLine | undefined;
    const wanted = Object.entries(what);
    for (const end = performance.now() + LIMIT_MS; performance.now() < end; await wait(50)) {
      line = await this.look(side);
      const known: Partial<Record<string, unknown>> = { ...line };
      if (line && wanted.every(([key, value]) => known[key] === value)) return line;
    }
    const words = this.supervisors.map(({ err }) => err).join('\n--\n');
    throw new Error(`${side} is ${JSON.stringify(line)}, not ${JSON.stringify(what)}\n${words}`);
  }

  /** Both in step, and the guest on this side. */
  async protectedOn(side: PairSide): Promise<void> {
    await this.until(side, { role: 'primary', pair: 'protected' });
    await this.until(side === 'a' ? 'b' : 'a', { role: 'secondary', pair: 'protected' });
  }

  async signal(side: PairSide, signal: NodeJS.Signals): Promise<number> {
    const { pid } = (await this.look(side)) ?? {};
    if (!pid) throw new Error(`there is no VM of side ${side}`);
    process.kill(pid, signal);
    return pid;
  }

  /** Another process may have the number of one that is over. */
  private isOurs(pid: number): boolean {
    const words = `/proc/${pid}/cmdline`;
    return existsSync(words) && readFileSync(words, 'latin1').includes(this.dir);
  }

  async dispose(): Promise<void> {
    for (const { child } of this.supervisors) child.kill('SIGKILL');
    await Promise.all([this.look('a'), this.look('b')]);
    for (const pid of this.pids) if (this.isOurs(pid)) process.kill(pid, 'SIGKILL');
    rmSync(this.dir, { recursive: true, force: true });
  }
}
