/** Commands of the host as byte streams. */
import { type ChildProcess, spawn } from 'node:child_process';
import { VmError } from '../../base/errors.js';
import type { Shell, Stream } from '../ports.js';
import { systemError } from './errors.js';

export class NodeShell implements Shell {
  run(command: string, direction: 'to' | 'from'): Stream {
    return new CommandStream(command, direction);
  }
}

/**
 * A command may end with exit code 0 and leave input unread in a pipe's buffer, which its writer
 * cannot see. A second reader of the same pipe would get those bytes: this is one.
 */
const AND_THE_REST =
  '/bin/sh -c "$1" > /dev/null; code=$?; [ $code -ne 0 ] || dd bs=1 count=1 2> /dev/null; ' +
  'exit $code';

const argumentsOf = (command: string, direction: 'to' | 'from') =>
  direction === 'to' ? ['-c', AND_THE_REST, 'sh', command] : ['-c', command];

class CommandStream implements Stream {
  private readonly child: ChildProcess;
  private endFn: ((error?: Error) => void) | undefined;
  private ended: { error?: Error } | undefined;
  private failure: Error | undefined;
  private closedByUs = false;
  /** Some of what was written was never read. */
  private unread = false;

  constructor(
    command: string,
    private readonly direction: 'to' | 'from',
  ) {
    // A group of its own: a pipeline is ended whole.
    this.child = spawn('/bin/sh', argumentsOf(command, direction), {
      detached: true,
      stdio: [direction === 'to' ? 'pipe' : 'ignore', 'pipe', 'inherit'],
    });
    if (direction === 'to') this.child.stdout?.on('data', () => (this.unread = true));
    this.child.once('error', error => this.finish(systemError('/bin/sh', error)));
    this.child.stdin?.on('error', error => (this.failure = systemError(this.peer, error)));
    this.child.stdout?.on('error', error => (this.failure = systemError(this.peer, error)));
    this.child.once('close', (code, signal) => this.finish(this.outcome(code, signal)));
  }

  readonly peer = 'the command';

  get pending(): number {
    return this.child.stdin?.writableLength ?? 0;
  }

  write(bytes: Uint8Array): Promise<void> {
    const { stdin } = this.child;
    // What is said to a command that is read from goes nowhere.
    if (this.direction === 'from' || !stdin) return Promise.resolve();
    return new Promise((resolve, reject) => {
      if (stdin.destroyed)
        return reject(this.ended?.error ?? this.failure ?? new VmError('the command has ended'));
      stdin.write(bytes, error => (error ? reject(systemError(this.peer, error)) : resolve()));
    });
  }

  onData(fn: (bytes: Uint8Array) => void): void {
    if (this.direction === 'to') return;
    this.child.stdout?.on('data', (bytes: Buffer) => {
      if (!this.closedByUs) fn(bytes);
    });
  }

  onEnd(fn: (error?: Error) => void): void {
    this.endFn = fn;
    const { ended } = this;
    if (ended) queueMicrotask(() => fn(ended.error));
  }

  pause(): void {
    this.child.stdout?.pause();
  }

  resume(): void {
    this.child.stdout?.resume();
  }

  end(): void {
    this.child.stdin?.end();
  }

  destroy(): void {
    if (this.closedByUs) return;
    this.closedByUs = true;
    this.child.stdin?.destroy();
    this.child.stdout?.destroy();
    if (this.ended || this.child.pid === undefined) return;
    try {
      process.kill(-this.child.pid, 'SIGTERM');
    } catch {
      // It has ended by itself.
    }
  }

  dispose(): void {
    this.destroy();
  }

  private outcome(code: number | null, signal: NodeJS.Signals | null): Error | undefined {
    if (code === 0 && this.unread) return new VmError('the command ended before it had read all');
    if (code === 0) return this.failure;
    return new VmError(
      signal === null
        ? `the command failed with exit code ${code}`
        : `the command was ended by ${signal}`,
    );
  }

  private finish(error?: Error): void {
    if (this.ended) return;
    this.ended = { error };
    if (!this.closedByUs) this.endFn?.(error);
  }
}
