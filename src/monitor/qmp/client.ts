/** A QMP client for any QMP server, ours or QEMU's. Every wait is bounded. */
import { VmError } from '../../base/errors.js';
import type { QmpErrorClass } from '../../base/errors.js';
import { printable } from '../../base/printable.js';
import type { Disposable } from '../../base/disposable.js';
import type { Address, Clock, Sockets, Stream } from '../../host/ports.js';
import { isObject } from '../../words/types.js';
import { JsonFramer } from './framer.js';
import { parseJson, printJson } from './json.js';

export interface QmpEvent {
  readonly event: string;
  readonly data: unknown;
  readonly timestamp: unknown;
}

export interface QmpClientPorts {
  readonly sockets: Sockets;
  readonly clock: Clock;
}

/** query-qmp-schema of QEMU is the largest answer known, a few hundred KiB. */
const MAX_ANSWER_BYTES = 16 << 20;

interface Waiting {
  resolve(value: unknown): void;
  reject(error: VmError): void;
  timer: Disposable;
}

export const addressText = (a: Address) =>
  a.kind === 'unix'
    ? `unix:${a.path}`
    : `tcp:${a.host.includes(':') ? `[${a.host}]` : a.host}:${a.port}`;

export class QmpClient implements Disposable {
  greeting: unknown;
  private readonly framer = new JsonFramer(MAX_ANSWER_BYTES);
  private readonly waiting = new Map<string, Waiting>();
  private readonly eventListeners = new Set<(event: QmpEvent) => void>();
  private readonly endListeners = new Set<() => void>();
  private lastId = 0;
  private ended: VmError | undefined;

  /** Connects, reads the greeting and negotiates. timeoutMs bounds each of the three. */
  static async connect(
    ports: QmpClientPorts,
    address: Address,
    timeoutMs: number,
  ): Promise<QmpClient> {
    const where = addressText(address);
    const stream = await ports.sockets.connect(address, { timeoutMs });
    const client = new QmpClient(ports, stream, where);
    try {
      await client.wait('greeting', timeoutMs, 'QMP greeting');
      await client.execute('qmp_capabilities', undefined, timeoutMs);
      return client;
    } catch (error) {
      client.dispose();
      throw error;
    }
  }

  private constructor(
    private readonly ports: QmpClientPorts,
    private readonly stream: Stream,
    private readonly where: string,
  ) {
    stream.onData(bytes => {
      this.framer.push(bytes);
      for (let frame = this.framer.next(); frame && !this.ended; frame = this.framer.next()) {
        if ('error' in frame) return this.end(this.notQmp());
        this.message(frame.text);
      }
    });
    stream.onEnd(error =>
      this.end(new VmError(`${where}: the connection ended${error ? `: ${error.message}` : ''}`)),
    );
  }

  onEvent(fn: (event: QmpEvent) => void): void {
    this.eventListeners.add(fn);
  }

  /** The connection is over; called at once if it is already. */
  onEnd(fn: () => void): void {
    if (this.ended) fn();
    else this.endListeners.add(fn);
  }

  /**
   * VmError with QMP's class and description when the server says so; with a sentence about the
   * connection otherwise.
   */
  async execute(command: string, args: object | undefined, timeoutMs: number): Promise<unknown> {
    if (this.ended) throw this.ended;
    const id = `colo-${++this.lastId}`;
    const answer = this.wait(id, timeoutMs, `answer to ${command}`);
    this.stream
      .write(Buffer.from(`${printJson({ execute: command, arguments: args, id })}\n`))
      .catch(() => undefined);
    return answer;
  }

  /** A line of HMP, with LF line ends. */
  async hmp(line: string, timeoutMs: number): Promise<string> {
    const output = await this.execute('human-monitor-command', { 'command-line': line }, timeoutMs);
    return typeof output === 'string' ? output.replaceAll('\r\n', '\n') : '';
  }

  dispose(): void {
    this.end(new VmError(`${this.where}: closed`));
  }

  private wait(id: string, timeoutMs: number, what: string): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const timer = this.ports.clock.timer(timeoutMs, () => {
        this.waiting.delete(id);
        reject(new VmError(`${this.where}: no ${what} within ${timeoutMs / 1000} s`));
      });
      this.waiting.set(id, { resolve, reject, timer });
    });
  }

  private message(text: Uint8Array): void {
    let message: unknown;
    try {
      message = parseJson(text);
    } catch {
      return this.end(this.notQmp());
    }
    if (!isObject(message)) return this.end(this.notQmp());
    if (isObject(message['QMP'])) {
      this.greeting = message['QMP'];
      this.settle('greeting', w => w.resolve(undefined));
    } else if (typeof message['event'] === 'string') {
      const event = {
        event: message['event'],
        data: message['data'],
        timestamp: message['timestamp'],
      };
      for (const listener of this.eventListeners) listener(event);
    } else this.answer(message);
  }

  private answer(message: Record<string, unknown>): void {
    const { id, error } = message;
    if (isObject(error)) {
      const failure = new VmError(printable(String(error['desc'])), {
        class: printable(String(error['class'])) as QmpErrorClass,
      });
      this.settle(String(id), w => w.reject(failure));
    } else this.settle(String(id), w => w.resolve(message['return']));
  }

  private settle(id: string, how: (w: Waiting) => void): void {
    const found = this.waiting.get(id);
    if (!found) return;
    this.waiting.delete(id);
    found.timer.dispose();
    how(found);
  }

  private notQmp(): VmError {
    return new VmError(`${this.where}: it does not speak QMP`, {
      hint: 'Give the address of -qmp, not that of -monitor or -serial.',
    });
  }

  private end(why: VmError): void {
    if (this.ended) return;
    this.ended = why;
    this.stream.destroy();
    for (const id of [...this.waiting.keys()]) this.settle(id, w => w.reject(why));
    for (const listener of this.endListeners) listener();
  }
}
