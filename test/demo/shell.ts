/**
 * A shell that README's blocks are pasted into, and the terminals that it opens for monitors, each
 * with its own standard input.
 */
import { type ChildProcess, spawn } from 'node:child_process';

const LIMIT_MS = 120_000;

export class Shell {
  private readonly child: ChildProcess;
  private readonly exited: Promise<void>;
  /** Both streams, as a terminal shows them. */
  seen = '';
  private pastes = 0;

  constructor(command: readonly string[], options: { cwd: string; env: NodeJS.ProcessEnv }) {
    this.child = spawn(command[0], command.slice(1), { ...options, detached: true });
    this.exited = new Promise(resolve => this.child.once('close', () => resolve()));
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream?.on('data', (bytes: Buffer) => (this.seen += bytes.toString()));
    }
    this.child.stdin?.on('error', () => undefined);
  }

  get pid(): number {
    return this.child.pid ?? 0;
  }

  type(text: string): void {
    this.child.stdin?.write(`${text}\n`);
  }

  async sees(what: string | RegExp, times = 1): Promise<void> {
    const deadline = performance.now() + LIMIT_MS;
    while (this.seen.split(what).length <= times) {
      const late = performance.now() > deadline;
      if (late) throw new Error(`not seen: ${String(what)}; but:\n${this.seen.slice(-3000)}`);
      await new Promise(resolve => setTimeout(resolve, 20));
    }
  }

  /**
   * A block into the shell; waits until its last line is through. Gives what was seen meanwhile,
   * and its exit code.
   */
  async paste(text: string): Promise<{ seen: string; code: number }> {
    const from = this.seen.length;
    const number = ++this.pastes;
    const mark = `@@${number}:`;
    // The line itself must not be taken for what it prints.
    this.type(`${text}\necho '@'"@${number}:$?:"`);
    await this.sees(mark);
    await this.sees(new RegExp(`${mark}\\d+:`));
    const [said, rest] = this.seen.slice(from).split(mark);
    return { seen: said, code: Number.parseInt(rest, 10) };
  }

  /** It ends with 0; else what was seen is shown. */
  async goesWell(text: string): Promise<void> {
    const { seen, code } = await this.paste(text);
    expect([code, code === 0 ? '' : seen]).toEqual([0, '']);
  }

  /** With everything that was started in it. */
  async end(): Promise<void> {
    if (this.child.exitCode === null && this.child.signalCode === null)
      process.kill(-this.pid, 'SIGKILL');
    await this.exited;
  }
}
