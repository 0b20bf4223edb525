/** Two supervisors of a pair on this host, with a guest of two instructions. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { colo, ColoProcess, expectDone } from './colo-process.js';
import { fakeKernel } from './fake-kernel.js';
import { Assembler } from './toy-guest.js';

export interface Line {
  name: string;
  role: string;
  pair: string;
  pid: number;
}

export class KeptPair {
  readonly dir = mkdtempSync(join(tmpdir(), 'colo-run-'));
  readonly env: NodeJS.ProcessEnv = { XDG_RUNTIME_DIR: this.dir };
  private readonly started: ColoProcess[] = [];

  /** further: lines of the definition. DIR in them is a folder of the pair. wait: of a start. */
  constructor(further: readonly string[] = [], wait = 60) {
    const { dir } = this;
    const code = Buffer.from(new Assembler(0).incDword(0x80_0000).hlt().code());
    writeFileSync(join(dir, 'vmlinuz'), fakeKernel({ code }));
    const addresses = (name: string) =>
      `migration: "unix:${join(dir, `${name}-mig`)}", nbd: "unix:${join(dir, `${name}-nbd`)}"`;
    const lines = [
      'name: toy',
      'memory: 32M',
      'accel: soft',
      'kernel: vmlinuz',
      'checkpoint-delay: 20',
      `peer: {${addresses('peer')}, wait: ${wait}}`,
      `back: {${addresses('back')}}`,
      'disks: [{primary: p.img, secondary: s.img, size: 4M}]',
      ...further.map(line => line.replaceAll('DIR', dir)),
    ];
    writeFileSync(join(dir, 'toy.yaml'), `${lines.join('\n')}\n`);
  }

  run(side: 'a' | 'b'): ColoProcess {
    const words = ['run', join(this.dir, 'toy.yaml'), '--side', side];
    const supervisor = new ColoProcess(words, { env: this.env });
    this.started.push(supervisor);
    return supervisor;
  }

  async look(name: string): Promise<Line | undefined> {
    const { out } = await colo(['list', '--json'], { env: this.env });
    return (JSON.parse(out) as Line[]).find(line => line.name === name);
  }

  /** It must end well. */
  async told(...words: string[]): Promise<string> {
    const run = await colo(words, { env: this.env });
    expectDone(run);
    return run.out;
  }

  /** A person has looked at the other host. */
  async failover(name: string): Promise<void> {
    await this.told('failover', name, '--yes');
  }

  async until(name: string, role: string, by: ColoProcess): Promise<Line> {
    let line: Line | undefined;
    await by.until(`${name} as a protected ${role}`, async () => {
      line = await this.look(name);
      return line?.role === role && line.pair === 'protected';
    });
    return line!;
  }

  /** Both hosts are down at one instant: neither sees the other one go. */
  async bothOff(): Promise<void> {
    const vms = await Promise.all(['toy-primary', 'toy-secondary'].map(name => this.look(name)));
    const pids = vms.flatMap(vm => vm?.pid ?? []);
    for (const signal of ['SIGSTOP', 'SIGKILL'] as const) {
      for (const { child } of this.started) child.kill(signal);
      for (const pid of pids) process.kill(pid, signal);
    }
    await Promise.all(this.started.map(({ exited }) => exited));
  }

  async dispose(): Promise<void> {
    for (const { child } of this.started.splice(0)) child.kill('SIGKILL');
    for (const name of ['toy-primary', 'toy-secondary']) {
      const vm = await this.look(name);
      if (vm?.pid) process.kill(vm.pid, 'SIGKILL');
    }
    rmSync(this.dir, { recursive: true });
  }
}
