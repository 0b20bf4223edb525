/**
 * Keys and pointers of the host go to one device of the guest each: the last plugged in that its
 * driver has set up, as a person would use the newest of two mice.
 */
import type { Clock } from '../../host/ports.js';

export const pointerButtons = ['left', 'middle', 'right', 'wheel-up', 'wheel-down'] as const;
export type PointerButton = (typeof pointerButtons)[number];

/** Positions on an absolute axis: 0 to this, whatever the size of the screen. */
export const ABSOLUTE_MAX = 0x7fff;

export interface KeyboardSink {
  /** The guest has set it up. */
  readonly ready: boolean;
  /** code: of set 1, bit 7 for the prefix (key-codes.ts). */
  key(code: number, down: boolean): void;
}

/** What happened since the last one. */
export interface PointerChange {
  /** Of a relative pointer: pixels to the right and down. */
  readonly dx: number;
  readonly dy: number;
  /** Of an absolute one, 0 to ABSOLUTE_MAX. */
  readonly x: number;
  readonly y: number;
  /** Turns of the wheel, away from the user. */
  readonly wheel: number;
  /** Bit 0 left, 1 right, 2 middle: what is held now. */
  readonly buttons: number;
}

export interface PointerSink {
  readonly ready: boolean;
  readonly absolute: boolean;
  move(change: PointerChange): void;
}

/** What comes while the guest stands still for a checkpoint waits; longer, and it is void. */
const WAIT_MS = 1000;
const WAITING_MAX = 256;

const BUTTON_BITS = { left: 1, right: 2, middle: 4, 'wheel-up': 0, 'wheel-down': 0 } as const;

export class InputRouter {
  private readonly keyboards: KeyboardSink[] = [];
  private readonly pointers: PointerSink[] = [];
  private readonly held = new Set<number>();
  private x = 0;
  private y = 0;
  private dx = 0;
  private dy = 0;
  private wheel = 0;
  private buttons = 0;
  /** Buttons that the last sync() said are held. */
  private said = 0;
  private waiting: { readonly atMs: number; readonly say: () => void }[] = [];

  constructor(
    private readonly guest: { readonly running: boolean },
    private readonly clock: Pick<Clock, 'nowMs' | 'timer'>,
  ) {}

  addKeyboard(sink: KeyboardSink): void {
    this.keyboards.unshift(sink);
  }

  addPointer(sink: PointerSink): void {
    this.pointers.unshift(sink);
  }

  /** The pointer that moves next takes positions. */
  get absolute(): boolean {
    return this.pointer?.absolute ?? false;
  }

  key(code: number, down: boolean): void {
    if (down) this.held.add(code);
    else this.held.delete(code);
    this.say(!down, () => this.keyboards.find(sink => sink.ready)?.key(code, down));
  }

  /** The devices run again. */
  resumed(): void {
    if (this.waiting.length > 0) this.clock.timer(0, () => this.catchUp());
  }

  /** A viewer is gone with its hands on the keyboard. */
  releaseAll(codes: Iterable<number>): void {
    for (const code of codes) if (this.held.has(code)) this.key(code, false);
  }

  moveBy(dx: number, dy: number): void {
    this.dx += dx;
    this.dy += dy;
  }

  /** 0 to ABSOLUTE_MAX. */
  moveTo(axis: 'x' | 'y', value: number): void {
    this[axis] = Math.max(0, Math.min(value, ABSOLUTE_MAX));
  }

  button(button: PointerButton, down: boolean): void {
    const bit = BUTTON_BITS[button];
    if (bit !== 0) this.buttons = down ? this.buttons | bit : this.buttons & ~bit;
    else if (down) this.wheel += button === 'wheel-up' ? 1 : -1;
  }

  /** Says what moveBy(), moveTo() and button() have gathered. */
  sync(): void {
    const { x, y, dx, dy, wheel, buttons } = this;
    this.dx = this.dy = this.wheel = 0;
    const releases = (this.said & ~buttons) !== 0;
    this.said = buttons;
    this.say(releases, () => this.pointer?.move({ x, y, dx, dy, wheel, buttons }));
  }

  /** What lets go never becomes void: the guest would have it held for ever. */
  private say(releases: boolean, say: () => void): void {
    const { waiting } = this;
    if (waiting.length >= WAITING_MAX) {
      const first = waiting.findIndex(({ atMs }) => atMs !== Infinity);
      waiting.splice(Math.max(first, 0), 1);
    }
    waiting.push({ atMs: releases ? Infinity : this.clock.nowMs(), say });
    this.catchUp();
  }

  private catchUp(): void {
    if (!this.guest.running) return;
    const { waiting } = this;
    this.waiting = [];
    const oldest = this.clock.nowMs() - WAIT_MS;
    for (const { atMs, say } of waiting) if (atMs >= oldest) say();
  }

  private get pointer(): PointerSink | undefined {
    return this.pointers.find(sink => sink.ready);
  }
}
