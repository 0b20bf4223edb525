/** The VM of this side as processes of this host, for the agent. */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { VmError } from '../../base/errors.js';
import { packageUrl } from '../../base/package.js';
import { makeFolder, PRIVATE_FOLDER } from '../../host/node/folder.js';
import { namesDir } from '../names.js';
import type { Role } from '../options/spec.js';
import { ProcessSide } from '../pair/process-side.js';
import type { PairFile } from '../pair/read.js';
import type { Side } from '../pair/side.js';
import type { VmLine } from '../survey.js';
import type { LocalSide } from './agent.js';

const program = fileURLToPath(packageUrl('bin/run.js'));

export interface LocalOptions {
  readonly file: PairFile;
  readonly side: Side;
  readonly log: string;
  readonly pidfile: string;
  /** Left of the time that the cluster gives. */
  leftMs(): number;
}

/** Of the VM that an instance started. */
export function pidfileOf(instance: string): string {
  const dir = namesDir();
  makeFolder(dir, PRIVATE_FOLDER);
  return join(dir, `ocf-${instance.replace(/[^\w.-]/g, '_')}.pid`);
}

export class ClusterSide implements LocalSide {
  private readonly processes: ProcessSide;

  constructor(private readonly options: LocalOptions) {
    this.processes = new ProcessSide(options.file, options.side, () => undefined);
  }

  get side(): Side {
    return this.options.side;
  }

  look(): Promise<VmLine | undefined> {
    return this.processes.look();
  }

  record(): ReturnType<ProcessSide['record']> {
    return this.processes.record();
  }

  quit(vm: VmLine): Promise<void> {
    return this.processes.quit(vm);
  }

  owns({ pid }: VmLine): boolean {
    return pid !== null && pid === startedPid(this.options.pidfile);
  }

  /** In the background: it outlives the agent, and holds none of its pipes. */
  async start(role: Role): Promise<void> {
    const { file, side, log, pidfile } = this.options;
    const pair = ['--config', file.path, '--side', side, '-rejoin'];
    await this.colo([role, ...pair, '-daemonize', '-D', log, '-pidfile', pidfile]);
  }

  goOn(name: string): Promise<void> {
    const seconds = Math.max(1, Math.floor(this.options.leftMs() / 1000));
    return this.colo(['failover', name, '--yes', '--timeout', String(seconds)]);
  }

  async kill(): Promise<void> {
    killStarted(this.options.pidfile);
  }

  private colo(args: readonly string[]): Promise<void> {
    const timeout = Math.max(1000, Math.floor(this.options.leftMs()));
    return new Promise((resolve, reject) =>
      execFile(process.execPath, [program, ...args], { timeout }, (error, _, err) => {
        if (!error) return resolve();
        const said = err.trim().replace(/\s*\n\s*/g, '; ') || error.message;
        reject(new VmError(`colo ${args[0]}: ${said}`));
      }),
    );
  }
}

/** The process that the file names, if it is a VM of ours and not another one of that number. */
function startedPid(pidfile: string): number | undefined {
  try {
    const pid = Number(readFileSync(pidfile, 'utf8'));
    const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
    return words.includes(pidfile) ? pid : undefined;
  } catch {
    return undefined; // there is none
  }
}

export function killStarted(pidfile: string): void {
  const pid = startedPid(pidfile);
  if (pid === undefined) return;
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended meanwhile.
  }
}
