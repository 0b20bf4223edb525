/**
 * A QMP client of the demo's own, as a script would write it: one command at a time, events counted
 * by name.
 */
import { connect } from 'node:net';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';

interface Reply {
  return?: unknown;
  error?: { class: string; desc: string };
}
interface Pending {
  resolve: (value: unknown) => void;
  reject: (error: Error) => void;
}

export class Qmp {
  private readonly pending: Pending[] = [];
  private readonly waiting: { name: string; resolve: (data: Record<string, unknown>) => void }[] =
    [];

  /** Over a pair of streams, as `-qmp stdio` has them. */
  constructor(
    input: Readable,
    private readonly output: Writable,
  ) {
    createInterface({ input }).on('line', line =>
      this.onLine(JSON.parse(line) as Record<string, unknown>),
    );
    output.on('error', () => undefined);
    input.on('error', () => undefined);
    input.on('close', () =>
      this.pending.splice(0).forEach(p => p.reject(new Error('the monitor is gone'))),
    );
  }

  /** Tries until the socket is there. */
  static async open(path: string, timeoutMs: number): Promise<Qmp> {
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      const socket = connect(path);
      const ok = await new Promise<boolean>(resolve =>
        socket.once('connect', () => resolve(true)).once('error', () => resolve(false)),
      );
      if (ok) {
        const qmp = new Qmp(socket, socket);
        await qmp.execute('qmp_capabilities');
        return qmp;
      }
      if (performance.now() > deadline)
        throw new Error(`no monitor at ${path} after ${timeoutMs} ms`);
      await new Promise(resolve => setTimeout(resolve, 50));
    }
  }

  execute(name: string, args?: Record<string, unknown>, timeoutMs = 20_000): Promise<unknown> {
    return this.line(JSON.stringify({ execute: name, arguments: args }), name, timeoutMs);
  }

  /** A command as somebody wrote it. */
  line(text: string, name = text, timeoutMs = 20_000): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => reject(new Error(`${name}: no answer within ${timeoutMs} ms`)),
        timeoutMs,
      );
      this.pending.push({
        resolve: value => (clearTimeout(timer), resolve(value)),
        reject: error => (clearTimeout(timer), reject(error)),
      });
      this.output.write(`${text}\n`);
    });
  }

  /** An HMP line; its output must be empty or `OK`, for errors come as text. */
  async hmp(line: string): Promise<void> {
    const text = String(
      await this.execute('human-monitor-command', { 'command-line': line }),
    ).trim();
    if (text !== '' && text !== 'OK') throw new Error(`${line}: ${text}`);
  }

  /** The next event of this name. */
  event(name: string, timeoutMs: number): Promise<Record<string, unknown>> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => reject(new Error(`no event ${name} within ${timeoutMs} ms`)),
        timeoutMs,
      );
      this.waiting.push({ name, resolve: data => (clearTimeout(timer), resolve(data)) });
    });
  }

  close(): void {
    this.output.destroy();
  }

  private onLine(message: Record<string, unknown>): void {
    if ('event' in message) {
      const index = this.waiting.findIndex(w => w.name === message.event);
      if (index >= 0)
        this.waiting.splice(index, 1)[0].resolve((message.data ?? {}) as Record<string, unknown>);
      return;
    }
    if ('QMP' in message) return;
    const next = this.pending.shift();
    const { error, return: value } = message as Reply;
    if (error) next?.reject(new Error(error.desc));
    else next?.resolve(value);
  }
}
