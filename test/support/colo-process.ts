/**
 * `colo` as it is built (dist) as a process: what it prints, its exit code, and a QMP client for a
 * VM.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { NodeClock } from '../../src/host/node/clock.js';
import { NodeSockets } from '../../src/host/node/sockets.js';
import { QmpClient } from '../../src/monitor/qmp/client.js';

const root = new URL('../../', import.meta.url);
const program = fileURLToPath(new URL('bin/run.js', root));
export const addonBuilt = existsSync(new URL('native/build/Release/colo.node', root));

const started: ChildProcess[] = [];
// What a failed test leaves behind must not keep the run.
afterAll(() => started.splice(0).forEach(child => child.kill('SIGKILL')));

export class ColoProcess {
  readonly child: ChildProcess;
  /** The exit code; null: ended by a signal. */
  readonly exited: Promise<number | null>;
  out = '';
  err = '';

  constructor(
    args: readonly string[],
    options: { env?: NodeJS.ProcessEnv; input?: string; cwd?: string } = {},
  ) {
    const env = { ...process.env, NODE_OPTIONS: '', FORCE_COLOR: undefined, ...options.env };
    this.child = spawn(process.execPath, [program, ...args], { env, cwd: options.cwd });
    started.push(this.child);
    this.child.stdout?.on('data', (bytes: Buffer) => (this.out += bytes.toString()));
    this.child.stderr?.on('data', (bytes: Buffer) => (this.err += bytes.toString()));
    this.child.stdin?.end(options.input ?? '');
    this.exited = new Promise(resolve => this.child.once('close', resolve));
  }

  async until(
    what: string,
    condition: () => boolean | Promise<boolean>,
    limitMs = 60_000,
  ): Promise<void> {
    const deadline = performance.now() + limitMs;
    while (!(await condition())) {
      if (performance.now() > deadline || this.child.exitCode !== null)
        throw new Error(
          `${what} did not come; exit code ${this.child.exitCode}\n${this.out}\n${this.err}`,
        );
      await new Promise(resolve => setTimeout(resolve, 20));
    }
  }

  says(text: string): Promise<void> {
    return this.until(`'${text}'`, () => this.err.includes(text));
  }

  async qmp(path: string): Promise<QmpClient> {
    await this.until('the monitor', () => existsSync(path));
    return QmpClient.connect(
      { sockets: new NodeSockets(), clock: new NodeClock() },
      { kind: 'unix', path },
      10_000,
    );
  }
}

/** It went well; else what it said is seen. */
export function expectDone({ code, err }: { code: number | null; err: string }): void {
  expect([code, code === 0 ? '' : err]).toEqual([0, '']);
}

/** To its end. */
export async function colo(
  args: readonly string[],
  options: { env?: NodeJS.ProcessEnv; input?: string; cwd?: string } = {},
): Promise<{ out: string; err: string; code: number | null }> {
  const run = new ColoProcess(args, options);
  const code = await run.exited;
  return { out: run.out, err: run.err, code };
}
