/**
 * Keyboard controller (Intel 8042 as in the PC/AT and the PS/2; IBM PS/2 Hardware Interface
 * Technical Reference, "Keyboard/Auxiliary device controller"): its commands, and a keyboard and a
 * mouse behind it. A20 is always on: the machine has no memory wrap at 1 MiB.
 */
import { enum8, u8 } from '../../fields/field.js';
import { vmstate } from '../../fields/vmstate.js';
import type { IoPorts } from '../../memory/io-ports.js';
import { ContainedPorts, outside } from '../contain.js';
import { Device, type IrqLine, type StateOf } from '../device.js';
import type { InputRouter, PointerChange } from '../input/router.js';
import type { PowerControl } from '../power.js';
import {
  keyboardField,
  mouseField,
  moveMouse,
  pressKey,
  takeByte,
  writeKeyboard,
  writeMouse,
} from './ps2.js';

const STATUS_PORT = 4;
const Status = {
  FULL: 0x01,
  SYSTEM: 0x04,
  COMMAND: 0x08,
  UNLOCKED: 0x10,
  MOUSE: 0x20,
} as const;
const Mode = {
  KEYBOARD_IRQ: 0x01,
  MOUSE_IRQ: 0x02,
  SYSTEM: 0x04,
  KEYBOARD_OFF: 0x10,
  MOUSE_OFF: 0x20,
  TRANSLATE: 0x40,
} as const;
/**
 * 0xf0..0xff pulses the output port's low bits that are zero in the command; bit 0 is the reset
 * line.
 */
const PULSE = 0xf0;
const RESET_LINE = 0x01;
/** Output port: not in reset, A20. */
const OUTPUT_PORT = 0x03;

const sources = ['none', 'controller', 'controller-mouse', 'keyboard', 'mouse'] as const;

export const i8042State = vmstate('i8042', 2, {
  status: u8
    .mask(Status.SYSTEM | Status.COMMAND | Status.UNLOCKED)
    .initially(Status.SYSTEM | Status.COMMAND | Status.UNLOCKED),
  mode: u8.mask(0x7f).initially(Mode.KEYBOARD_IRQ | Mode.MOUSE_IRQ | Mode.SYSTEM | Mode.TRANSLATE),
  /** The command whose argument comes next. */
  command: u8,
  /** Whose byte is in the output buffer. */
  source: enum8(sources),
  /** The output buffer. */
  output: u8,
  keyboard: keyboardField,
  mouse: mouseField,
});

export class I8042 extends Device<StateOf<typeof i8042State>> {
  readonly vmstate = i8042State;
  state = i8042State.reset();
  private paused = true;
  private input: InputRouter | undefined;

  constructor(
    id: string,
    private readonly power: PowerControl,
    private readonly irqs: { readonly keyboard: IrqLine; readonly mouse: IrqLine },
  ) {
    super(id);
  }

  attach(io: IoPorts): void {
    const status = {
      pioRead: () => this.pioRead(STATUS_PORT),
      pioWrite: (_offset: number, size: number, value: number) =>
        this.pioWrite(STATUS_PORT, size, value),
    };
    io.map(this.id, 0x60, 1, new ContainedPorts(this, this));
    io.map(this.id, 0x64, 1, new ContainedPorts(this, status));
  }

  /** What the host types and points at comes here while nothing newer takes it. */
  connect(input: InputRouter): void {
    this.input = input;
    const key = this.guarded((code: number, down: boolean) => {
      if (this.paused) return;
      pressKey(this.state.keyboard, code, down, this.translates);
      this.next();
    });
    const move = this.guarded((change: PointerChange) => {
      if (this.paused) return;
      moveMouse(this.state.mouse, change);
      this.next();
    });
    input.addKeyboard({ ready: true, key });
    input.addPointer({ ready: true, absolute: false, move });
  }

  override reset(): void {
    super.reset();
    this.state.keyboard.scanning = true;
  }

  override afterLoad(): void {
    this.updateIrqs();
  }

  override async pause(): Promise<void> {
    this.paused = true;
  }

  override resume(): void {
    this.paused = false;
    this.input?.resumed();
  }

  pioRead(offset: number): number {
    const { state: s } = this;
    if (offset === STATUS_PORT) {
      const mouse = s.source === 'mouse' || s.source === 'controller-mouse';
      return s.status | (s.source === 'none' ? 0 : Status.FULL) | (mouse ? Status.MOUSE : 0);
    }
    const value = s.output;
    s.source = 'none';
    this.updateIrqs();
    this.next();
    return value;
  }

  pioWrite(offset: number, _size: number, value: number): void {
    if (offset === STATUS_PORT) {
      this.state.status |= Status.COMMAND;
      this.controllerCommand(value);
    } else {
      this.state.status &= ~Status.COMMAND;
      this.data(value);
    }
    this.next();
  }

  private get translates(): boolean {
    return (this.state.mode & Mode.TRANSLATE) !== 0 && this.state.keyboard.set === 2;
  }

  /** Puts the next byte into the output buffer, once it is free. */
  private next(): void {
    const { state: s } = this;
    if (s.source !== 'none') return;
    if (s.keyboard.queue.length > 0 && (s.mode & Mode.KEYBOARD_OFF) === 0) {
      s.output = takeByte(s.keyboard);
      s.source = 'keyboard';
    } else if (s.mouse.queue.length > 0 && (s.mode & Mode.MOUSE_OFF) === 0) {
      s.output = takeByte(s.mouse);
      s.source = 'mouse';
    }
    this.updateIrqs();
  }

  private answer(value: number, source: 'controller' | 'controller-mouse' = 'controller'): void {
    this.state.output = value;
    this.state.source = source;
    this.updateIrqs();
  }

  private updateIrqs(): void {
    const { source, mode } = this.state;
    const keyboard = source === 'keyboard' || source === 'controller';
    const mouse = source === 'mouse' || source === 'controller-mouse';
    this.irqs.keyboard.set(keyboard && (mode & Mode.KEYBOARD_IRQ) !== 0);
    this.irqs.mouse.set(mouse && (mode & Mode.MOUSE_IRQ) !== 0);
  }

  private controllerCommand(value: number): void {
    const { state: s } = this;
    s.command = 0;
    if ((value & PULSE) === PULSE) {
      if ((value & RESET_LINE) === 0) outside(() => this.power.reset('keyboard controller'));
      return;
    }
    switch (value) {
      case 0x20:
        return this.answer(s.mode);
      case 0x60:
      case 0xd1:
      case 0xd2:
      case 0xd3:
      case 0xd4:
        s.command = value;
        return;
      case 0xa7:
        s.mode |= Mode.MOUSE_OFF;
        return;
      case 0xa8:
        s.mode &= ~Mode.MOUSE_OFF;
        return;
      case 0xa9:
      case 0xab:
        return this.answer(0); // the line to the device is fine
      case 0xaa:
        s.status |= Status.SYSTEM;
        return this.answer(0x55);
      case 0xad:
        s.mode |= Mode.KEYBOARD_OFF;
        return;
      case 0xae:
        s.mode &= ~Mode.KEYBOARD_OFF;
        return;
      case 0xc0:
        return this.answer(0x80);
      case 0xd0:
        return this.answer(OUTPUT_PORT);
      default:
        return;
    }
  }

  private data(value: number): void {
    const { state: s } = this;
    const { command } = s;
    s.command = 0;
    switch (command) {
      case 0x60:
        s.mode = value & 0x7f;
        return this.updateIrqs();
      case 0xd1:
        if ((value & RESET_LINE) === 0) outside(() => this.power.reset('keyboard controller'));
        return;
      case 0xd2:
        return this.answer(value);
      case 0xd3:
        return this.answer(value, 'controller-mouse');
      case 0xd4:
        s.mode &= ~Mode.MOUSE_OFF;
        return writeMouse(s.mouse, value);
      default:
        s.mode &= ~Mode.KEYBOARD_OFF;
        return writeKeyboard(s.keyboard, value, this.translates);
    }
  }
}
