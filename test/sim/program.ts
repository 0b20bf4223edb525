/**
 * The guest's program is chance: each step takes a number that no other step ever gets, so two
 * machines that both went on from one state can be told apart. All it knows lies in RAM and in the
 * registers. It drives the machine's own virtio devices, and powers off by ACPI when the button is
 * pressed.
 */
import { Low } from '../../src/machine/loader/memory-map.js';
import type { SimAccel } from '../support/sim/accel.js';
import { BlkDriver, NetDriver, type Op } from './drivers.js';
import { DiskModel, sectors } from './model.js';

/** Where the program keeps its state, and the pages that it scribbles on. */
const STATE = 0x20_0000;
const At = { lastStep: STATE, received: STATE + 4, packets: STATE + 16, done: STATE + 64 } as const;
const PAGE = 4096;
export const SCRIBBLE = { at: STATE + PAGE, pages: 23 } as const;
const AREAS = 0x24_0000;

/** Where it is, beyond the loader's entry. */
const Rip = { LOOP: 0x1000, OFF: 0x2000 } as const;
const Pm1 = {
  STATUS: 0x600,
  ENABLE: 0x602,
  CONTROL: 0x604,
  BUTTON: 0x100,
  SLEEP_S5: 0x3400,
} as const;
const SCI = 9;

export interface ProgramHost {
  nextId(): number;
  step(id: number, parent: number): void;
  wrong(what: string): void;
}

export class Program {
  /** It powers off at its next step. */
  leaving = false;
  /** What each medium must hold by what this guest was told. */
  readonly models: readonly DiskModel[];
  private readonly blk: readonly BlkDriver[];
  private readonly net: readonly NetDriver[];

  constructor(
    private readonly accel: SimAccel,
    { disks, nics }: { disks: number; nics: number },
    private readonly host: ProgramHost,
  ) {
    const numbers = Array.from({ length: disks + nics }, (_, n) => n);
    this.blk = numbers.slice(0, disks).map(n => new BlkDriver(accel, AREAS, n));
    this.net = numbers.slice(disks).map(n => new NetDriver(accel, AREAS, n));
    this.models = this.blk.map(() => new DiskModel());
    accel.program = () => this.run();
  }

  get lastStep(): number {
    return this.accel.ram.readU32(At.lastStep)!;
  }

  /** What it boots after is another process's guest. */
  goOnFrom(step: number, models: readonly DiskModel[]): void {
    this.accel.ram.writeU32(At.lastStep, step);
    this.models.forEach((model, n) => model.become(models[n]));
  }

  private run(): void {
    const { accel } = this;
    if (accel.rip === Rip.OFF) return;
    if (accel.rip !== Rip.LOOP) return this.boot();
    if (accel.isHigh(SCI)) return this.buttonPressed();
    if (this.leaving) return this.powerOff();
    this.completions();
    if (this.sendPending()) this.step();
  }

  /** Nothing of what was there stays but where its history is. */
  private boot(): void {
    const { accel, lastStep } = this;
    this.leaving = false;
    const { ram } = accel;
    accel.seed(ram.readU32(Low.SEED + 16)!);
    for (const { from } of ram.populated()) ram.fill(from * PAGE, PAGE, 0);
    ram.writeU32(At.lastStep, lastStep);
    for (const driver of [...this.blk, ...this.net]) driver.boot();
    accel.out(Pm1.ENABLE, Pm1.BUTTON, 2);
    accel.rip = Rip.LOOP;
  }

  private buttonPressed(): void {
    const { accel } = this;
    if ((accel.in(Pm1.STATUS, 2) & Pm1.BUTTON) === 0)
      return this.host.wrong('an interrupt of ACPI without a cause');
    accel.out(Pm1.STATUS, Pm1.BUTTON, 2);
    this.powerOff();
  }

  private powerOff(): void {
    const { accel } = this;
    accel.rip = Rip.OFF;
    accel.out(Pm1.CONTROL, Pm1.SLEEP_S5, 2);
  }

  private completions(): void {
    const { ram } = this.accel;
    for (const [n, driver] of this.blk.entries()) {
      const over = driver.completed();
      if (!over) continue;
      const { op, sector, count, id, failed, data } = over;
      ram.writeU32(At.done + 8 * n, id);
      ram.writeU32(At.done + 8 * n + 4, failed ? 1 : 0);
      if (failed) continue;
      const model = this.models[n];
      if (op === 'write') model.wrote(sector, count, id);
      if (op === 'zeroes' || op === 'discard') model.wrote(sector, count, 0);
      if (op === 'flush') model.flushed();
      const wrong = op === 'read' && model.differs(data, sector, count);
      if (wrong) this.host.wrong(`disk ${n} reads ${wrong}`);
    }
    for (const driver of this.net) {
      const frame = driver.received();
      if (frame) ram.writeU32(At.received, frame[14]);
    }
  }

  private step(): void {
    const { ram, random } = this.accel;
    const id = this.host.nextId();
    this.host.step(id, this.lastStep);
    ram.writeU32(At.lastStep, id);
    for (let i = random.below(6); i > 0; i--) {
      const at = SCRIBBLE.at + 4 * random.below((SCRIBBLE.pages * PAGE) / 4);
      ram.writeU32(at, random.chance(0.2) ? 0 : id);
    }
    for (const [n, driver] of this.blk.entries())
      if (driver.idle && random.chance(0.4)) this.request(n, id);
    if (!random.chance(0.6)) return;
    ram.writeU32(At.packets + 4 * random.below(this.net.length), id);
    this.sendPending();
  }

  private request(disk: number, id: number): void {
    const { random } = this.accel;
    const op = opOf(random.next());
    const count = op === 'flush' ? 0 : random.chance(0.1) ? 40 : 1 + random.below(8);
    const sector = random.below(sectors - count);
    if (op !== 'flush' && op !== 'read') this.models[disk].unknown(sector, count);
    this.blk[disk].submit({ op, sector, count, id });
  }

  /** False: a frame of an earlier step still waits for room. */
  private sendPending(): boolean {
    const { ram } = this.accel;
    for (const [n, driver] of this.net.entries()) {
      const id = ram.readU32(At.packets + 4 * n)!;
      if (id === 0) continue;
      if (!driver.send(frameOf(id))) return false;
      ram.writeU32(At.packets + 4 * n, 0);
    }
    return true;
  }
}

function opOf(dice: number): Op {
  if (dice < 0.7) return 'write';
  if (dice < 0.78) return 'zeroes';
  if (dice < 0.86) return 'flush';
  return dice < 0.95 ? 'read' : 'discard';
}

function frameOf(id: number): Buffer {
  const frame = Buffer.alloc(60 + (id % 40));
  frame.writeUInt32BE(id, 14);
  return frame;
}

const rarp = 0x8035;

/** The step that a frame is of; undefined: an announcement of the host. */
export function stepOf(frame: Uint8Array): number | undefined {
  const view = Buffer.from(frame.buffer, frame.byteOffset, frame.length);
  return view.readUInt16BE(12) === rarp ? undefined : view.readUInt32BE(14);
}
