/**
 * A TCP client of the guest that counts: one socket, never reopened, one request in flight; it
 * notices every gap, repeat and wait.
 */
import { connect, type Socket } from 'node:net';

export interface ClientReport {
  localPort: number;
  answers: number;
  gaps: number;
  repeats: number;
  memoryErrors: number;
  /**
   * Every record number that the client was ever told, as the highest one (a told number covers all
   * below it).
   */
  recordsTold: number;
  /** The longest wait between two answers since markKill(), ms. */
  outageMs: number;
  error?: string;
}

export class CountingClient {
  private socket?: Socket;
  private rest = '';
  private killed = false;
  /** By performance.now(). */
  lastAnswerMs = 0;
  private waiters: { at: number; resolve: () => void; reject: (error: Error) => void }[] = [];
  readonly report: ClientReport = {
    localPort: 0,
    answers: 0,
    gaps: 0,
    repeats: 0,
    memoryErrors: 0,
    recordsTold: 0,
    outageMs: 0,
  };
  private lastCounter = 0;

  /**
   * Tries until the guest answers (it may still be booting), then counts on this one connection.
   */
  async start(host: string, port: number, timeoutMs: number): Promise<void> {
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      try {
        this.socket = await open(host, port, 1000);
        break;
      } catch (error) {
        if (performance.now() > deadline)
          throw new Error(`no guest at ${host}:${port} after ${timeoutMs} ms`, { cause: error });
        await new Promise(resolve => setTimeout(resolve, 100));
      }
    }
    this.report.localPort = this.socket.localPort ?? 0;
    this.lastAnswerMs = performance.now();
    this.socket.setNoDelay(true);
    this.socket.on('data', chunk => this.onData(chunk.toString('latin1')));
    this.socket.on('error', error => this.fail(error));
    this.socket.on('close', () => this.fail(new Error('the connection was closed')));
    this.socket.write('next\n');
  }

  /** From now on waits count as outage. */
  markKill(): void {
    this.killed = true;
    this.lastAnswerMs = performance.now();
  }

  /** Resolves after n more answers. */
  answers(n: number, timeoutMs: number): Promise<void> {
    if (this.report.error) return Promise.reject(new Error(this.report.error));
    const at = this.report.answers + n;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => reject(new Error(`the client waited ${timeoutMs} ms for ${n} answers`)),
        timeoutMs,
      );
      this.waiters.push({
        at,
        resolve: () => (clearTimeout(timer), resolve()),
        reject: error => (clearTimeout(timer), reject(error)),
      });
    });
  }

  stop(): void {
    const socket = this.socket;
    this.socket = undefined;
    socket?.destroy();
  }

  private fail(error: Error): void {
    if (!this.socket) return;
    this.report.error ??= error.message;
    for (const waiter of this.waiters.splice(0)) waiter.reject(error);
  }

  private onData(text: string): void {
    this.rest += text;
    for (let end = this.rest.indexOf('\n'); end >= 0; end = this.rest.indexOf('\n')) {
      this.onAnswer(this.rest.slice(0, end));
      this.rest = this.rest.slice(end + 1);
    }
  }

  private onAnswer(line: string): void {
    const [counter, record, errors] = line.split(' ').map(Number);
    const now = performance.now();
    const report = this.report;
    if (report.answers > 0 && counter > this.lastCounter + 1) report.gaps++;
    if (counter <= this.lastCounter) report.repeats++;
    if (this.killed) report.outageMs = Math.max(report.outageMs, now - this.lastAnswerMs);
    this.lastAnswerMs = now;
    this.lastCounter = counter;
    report.answers++;
    report.recordsTold = Math.max(report.recordsTold, record);
    report.memoryErrors = Math.max(report.memoryErrors, errors);
    for (const waiter of this.waiters.filter(w => w.at <= report.answers)) waiter.resolve();
    this.waiters = this.waiters.filter(w => w.at > report.answers);
    this.socket?.write('next\n');
  }
}

function open(host: string, port: number, timeoutMs: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port });
    const timer = setTimeout(() => socket.destroy(new Error('timed out')), timeoutMs);
    socket.once(
      'connect',
      () => (clearTimeout(timer), socket.removeAllListeners('error'), resolve(socket)),
    );
    socket.once('error', error => (clearTimeout(timer), reject(error)));
  });
}
