/** What scripts ask of the process of a VM: -daemonize, -D, -msg; -pidfile is in pidfile.ts. */
import { spawn } from 'node:child_process';
import { closeSync, openSync, writeSync } from 'node:fs';
import { systemError } from '../../host/node/errors.js';

export interface ProcessOptions {
  readonly daemonize: boolean;
  readonly pidfile: string | undefined;
  /** Where log lines go; undefined: standard error. */
  readonly logfile: string | undefined;
  /** -msg timestamp=on. */
  readonly timestamps: boolean;
}

/** Set for the process that stays. */
const DAEMON_MARK = 'COLO_DAEMON';

export const staysInForeground = ({ daemonize }: ProcessOptions) =>
  !daemonize || process.env[DAEMON_MARK] === '1';

/**
 * Starts the same command again, in a session of its own; gives its exit code if it fails to come
 * up, 0 when the VM is there.
 */
export function startDaemon(): Promise<number> {
  const [, script, ...args] = process.argv;
  const child = spawn(process.execPath, [...process.execArgv, script, ...args], {
    detached: true,
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    env: { ...process.env, [DAEMON_MARK]: '1' },
  });
  child.stderr?.pipe(process.stderr);
  return new Promise(resolve => {
    child.once('error', () => resolve(1));
    child.once('close', code => resolve(code ?? 1));
    child.once('message', () => resolve(0));
  });
}

/** The VM is there: whoever waits for it may go. */
export function daemonReady(): void {
  if (process.env[DAEMON_MARK] !== '1' || !process.send) return;
  process.stderr.on('error', () => undefined);
  process.send('ready', () => process.disconnect());
}

/**
 * Where log lines and trace events go: standard error, or the file of -D or of the monitor's
 * logfile. A full disk loses lines, never the VM.
 */
export class LogSink {
  private fd: number | undefined;
  private path: string | undefined;

  constructor(
    private readonly standardError: (line: string) => void,
    private readonly timestamps: boolean,
  ) {
    process.once('exit', () => this.fd !== undefined && closeSync(this.fd));
  }

  /** Appends to the file from now on; if it cannot be opened, everything stays as it is. */
  open(path: string, option: string): void {
    let fd: number;
    try {
      fd = openSync(path, 'a', 0o640);
    } catch (error) {
      throw systemError(`${option} ${path}`, error);
    }
    if (this.fd !== undefined) closeSync(this.fd);
    this.fd = fd;
    this.path = path;
  }

  /** After the file was moved away: lines go to a new one of that name. */
  reopen(): void {
    if (this.path === undefined) return;
    try {
      this.open(this.path, '-D');
    } catch {
      // The old file is still better than none.
    }
  }

  /** otherwise: where the line goes without a file. */
  write(text: string, otherwise = this.standardError): void {
    const line = this.timestamps ? `${new Date().toISOString()} ${text}` : text;
    if (this.fd === undefined) return otherwise(line);
    try {
      writeSync(this.fd, `${line}\n`);
    } catch {
      // Nobody is left to be told.
    }
  }
}
