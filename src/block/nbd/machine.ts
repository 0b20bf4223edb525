/**
 * A protocol as a generator, without a socket: it yields what it needs next, and continues in
 * straight-line code when the bytes are there. The owner of the stream feeds the machine and sends
 * its output.
 */

import { assert, VmError } from '../../base/errors.js';

/**
 * need: exactly n bytes, given back (idle: the peer may take its time to begin with them); skip: n
 * bytes thrown away; send: bytes for the peer; startTls: everything after it is encrypted.
 */
export type Step =
  { need: number; idle?: true } | { skip: number } | { send: Uint8Array } | { startTls: true };
export type Protocol<R = void> = Generator<Step, R, Buffer>;

const NOTHING = Buffer.alloc(0);
const CRUMB = 1024;
const TAIL = 16 * 1024;

export class ProtocolMachine {
  private readonly chunks: Buffer[] = [];
  private available = 0;
  private tail = NOTHING;
  private tailUsed = 0;
  private step?: Step;
  private held = false;
  private running = false;
  private finished = false;
  private shaking = false;

  constructor(
    private readonly protocol: Protocol,
    private readonly send: (bytes: Uint8Array) => void,
    /** The owner calls secured() when the stream is. */
    private readonly startTls: () => void = () => assert(false, 'nobody here can speak TLS'),
  ) {}

  /** Has the first bytes of something whose rest is awaited. */
  get partial(): boolean {
    if (this.finished || this.held || !this.step) return false;
    return this.available > 0 || !('idle' in this.step);
  }

  get done(): boolean {
    return this.finished;
  }

  /** Runs up to the first need. */
  start(): void {
    this.advance(NOTHING);
    this.run();
  }

  /** The bytes must not change afterwards. Throws what the protocol throws. */
  feed(data: Uint8Array): void {
    if (this.finished) return;
    this.append(Buffer.from(data.buffer, data.byteOffset, data.byteLength));
    this.available += data.length;
    this.run();
  }

  /** Back-pressure: the protocol stands still, bytes are kept. */
  hold(): void {
    this.held = true;
  }

  release(): void {
    this.held = false;
    this.run();
  }

  secured(): void {
    this.shaking = false;
    this.advance(NOTHING);
    this.run();
  }

  /** Nothing more is wanted. */
  stop(): void {
    this.finished = true;
    this.chunks.length = 0;
    this.available = 0;
  }

  /**
   * Crumbs are copied together: a peer that sends single bytes must not cost an object for each.
   */
  private append(data: Buffer): void {
    if (data.length > CRUMB) return void this.chunks.push(data);
    const last = this.chunks[this.chunks.length - 1];
    if (
      !last ||
      last.buffer !== this.tail.buffer ||
      this.tailUsed + data.length > this.tail.length
    ) {
      if (this.tailUsed + data.length > this.tail.length) {
        this.tail = Buffer.allocUnsafeSlow(TAIL);
        this.tailUsed = 0;
      }
      this.chunks.push(this.tail.subarray(this.tailUsed, this.tailUsed + data.length));
    } else
      this.chunks[this.chunks.length - 1] = Buffer.from(
        this.tail.buffer,
        last.byteOffset,
        last.length + data.length,
      );
    data.copy(this.tail, this.tailUsed);
    this.tailUsed += data.length;
  }

  private run(): void {
    if (this.running) return;
    this.running = true;
    try {
      while (this.step && !this.held && !this.finished && !this.shaking && this.satisfy(this.step));
    } finally {
      this.running = false;
    }
  }

  private satisfy(step: Step): boolean {
    if ('send' in step) {
      this.send(step.send);
      this.advance(NOTHING);
    } else if ('startTls' in step) {
      // An attacker on the path could have inserted them.
      if (this.available > 0) throw new VmError('the peer sent plain bytes where TLS must begin');
      this.shaking = true;
      this.startTls();
      return false;
    } else if ('skip' in step) {
      const n = Math.min(step.skip, this.available);
      if (n > 0) this.take(n);
      if (n < step.skip) this.step = { skip: step.skip - n };
      else this.advance(NOTHING);
      return n === step.skip;
    } else {
      if (this.available < step.need) return false;
      this.advance(this.take(step.need));
    }
    return true;
  }

  private advance(bytes: Buffer): void {
    if (this.finished) return;
    const next = this.protocol.next(bytes);
    if (this.finished) return;
    if (next.done) this.stop();
    else this.step = next.value;
  }

  private take(n: number): Buffer {
    this.available -= n;
    const first = this.chunks[0];
    if (n === 0) return NOTHING;
    if (first.length >= n) {
      if (first.length === n) this.chunks.shift();
      else this.chunks[0] = first.subarray(n);
      return first.subarray(0, n);
    }
    const out = Buffer.allocUnsafe(n);
    let used = 0;
    let whole = 0;
    while (used < n) {
      const chunk = this.chunks[whole];
      const part = Math.min(chunk.length, n - used);
      chunk.copy(out, used, 0, part);
      used += part;
      if (part < chunk.length) this.chunks[whole] = chunk.subarray(part);
      else whole++;
    }
    this.chunks.splice(0, whole);
    return out;
  }
}
