/**
 * One channel for several front ends, as QEMU's mux: what is typed goes to the one that has the
 * focus, and Ctrl-A leads to the others. Output of the guest's consoles is always shown; that of a
 * monitor while it has the focus. Its line editor prints what the guest writes above the line being
 * typed.
 */
import type { Clock } from '../host/ports.js';
import type { CharBackend } from './contract.js';
import { MuxFront, type MuxOwner, type MuxRole } from './mux-front.js';

const ESCAPE_KEY = 0x01;
const LINE_END = 0x0a;
const HELP = `
Ctrl-A h       this help
Ctrl-A x       end the VM
Ctrl-A s       write what the disks keep apart back into their images (commit all)
Ctrl-A t       a time stamp in front of each line of the console: on, off
Ctrl-A b       send a break (to Linux: magic SysRq)
Ctrl-A c       switch between console and monitor
Ctrl-A Ctrl-A  send a Ctrl-A
`;

export type MuxCommand = 'quit' | 'save';

export class MuxChar implements CharBackend, MuxOwner {
  readonly terminal = undefined;
  private readonly fronts: MuxFront[] = [];
  private focused: MuxFront | undefined;
  private switched = false;
  private escaped = false;
  /** The channel took nothing the last time. */
  private full = false;
  private stampsFromMs: number | undefined;
  private atLineStart = true;
  private command: (command: MuxCommand) => void = () => undefined;

  constructor(
    private readonly base: CharBackend,
    private readonly clock: Clock,
  ) {}

  get id(): string {
    return this.base.id;
  }

  get label(): string {
    return `mux,${this.base.label}`;
  }

  get connected(): boolean {
    return this.base.connected;
  }

  get isStdio(): boolean {
    return this.base.label === 'stdio';
  }

  /** What only the owner of the machine can do. */
  onCommand(fn: (command: MuxCommand) => void): void {
    this.command = fn;
  }

  /** One more front end. The first console has the focus until the user switches. */
  front(role: MuxRole): CharBackend {
    const front = new MuxFront(this, role, this.base);
    this.fronts.push(front);
    if (!this.focused || (!this.switched && role === 'console' && this.focused.role === 'monitor'))
      this.focused = front;
    if (this.fronts.length === 1) this.connect();
    return front;
  }

  /** For people, on the channel itself. */
  say(text: string): void {
    this.base.write(Buffer.from(text.replace(/\r?\n/g, '\r\n')));
  }

  // --- for the front ends

  output(from: MuxFront, bytes: Uint8Array): boolean {
    if (this.full) return false;
    if (from.role === 'monitor') return this.focused === from && this.put(bytes);
    const { text, atLineStart } = this.stamped(Buffer.from(bytes));
    const tellAside = this.focused?.role === 'monitor' ? this.focused.tellAside : undefined;
    if (!tellAside && !this.put(text)) return false;
    this.atLineStart = atLineStart;
    const whole = from.wholeLines(text.toString('latin1'));
    if (tellAside && whole !== '') tellAside(Buffer.from(whole, 'latin1').toString('utf8'));
    return true;
  }

  left(front: MuxFront): void {
    const other = this.fronts.find(one => one.role === 'console');
    if (other) this.focus(other);
    else if (this.focused === front) this.base.hangUp();
  }

  bell(): void {
    this.say('\x07');
  }

  // --- the front end's half of a channel: each has its own, see front()

  write(): boolean {
    return true;
  }
  onRoom(): void {}
  onData(): void {}
  onEvent(): void {}
  onInputEnd(): void {}
  pause(): void {}
  resume(): void {}
  hangUp(): void {}
  release(): void {}

  dispose(): void {
    this.base.dispose();
  }

  get closed(): Promise<void> | undefined {
    return this.base.closed;
  }

  private connect(): void {
    const { base } = this;
    base.onRoom(() => {
      this.full = false;
      for (const front of this.fronts) front.room();
    });
    base.onEvent(event => this.fronts.forEach(front => front.event(event)));
    base.onInputEnd(() => this.fronts.forEach(front => front.inputEnded()));
    base.onData(bytes => this.arrived(bytes));
  }

  private put(bytes: Uint8Array): boolean {
    this.full = !this.base.write(bytes);
    return !this.full;
  }

  private arrived(bytes: Uint8Array): void {
    let begin = 0;
    for (let i = 0; i < bytes.length; i++) {
      if (this.escaped) {
        this.escaped = false;
        begin = bytes[i] === ESCAPE_KEY ? i : i + 1;
        if (begin > i) this.act(String.fromCharCode(bytes[i]));
      } else if (bytes[i] === ESCAPE_KEY) {
        this.focused?.input(bytes.subarray(begin, i));
        begin = i + 1;
        this.escaped = true;
      }
    }
    this.focused?.input(bytes.subarray(begin));
  }

  private act(key: string): void {
    switch (key) {
      case 'c':
        return this.focus(
          this.fronts[
            (this.fronts.findIndex(front => front === this.focused) + 1) % this.fronts.length
          ],
        );
      case 'b':
        return this.focused?.sendBreak();
      case 't':
        this.stampsFromMs = this.stampsFromMs === undefined ? this.clock.nowMs() : undefined;
        return;
      case 'x':
        this.say('\nended by Ctrl-A x\n');
        return this.command('quit');
      case 's':
        return this.command('save');
      case 'h':
      case '?':
        return this.say(HELP);
    }
  }

  private focus(next: MuxFront): void {
    const before = this.focused;
    if (before === next) return;
    this.switched = true;
    before?.focusChanged(false);
    this.focused = next;
    this.say('\n');
    if (next.role === 'console' && next.partial !== '')
      this.base.write(Buffer.from(next.partial, 'latin1'));
    next.room();
    next.focusChanged(true);
  }

  /** The time since Ctrl-A t, in front of each line. */
  private stamped(bytes: Buffer): { text: Buffer; atLineStart: boolean } {
    const from = this.stampsFromMs;
    const pieces: Buffer[] = [];
    let { atLineStart } = this;
    for (let at = 0; at < bytes.length;) {
      const end = bytes.indexOf(LINE_END, at) + 1 || bytes.length;
      if (atLineStart && from !== undefined)
        pieces.push(Buffer.from(`[${stamp(this.clock.nowMs() - from)}] `));
      pieces.push(bytes.subarray(at, end));
      atLineStart = bytes[end - 1] === LINE_END;
      at = end;
    }
    return { text: Buffer.concat(pieces), atLineStart };
  }
}

function stamp(ms: number): string {
  const two = (n: number) => String(Math.floor(n)).padStart(2, '0');
  const fraction = String(Math.floor(ms % 1000)).padStart(3, '0');
  return `${two(ms / 3_600_000)}:${two((ms / 60_000) % 60)}:${two((ms / 1000) % 60)}.${fraction}`;
}
