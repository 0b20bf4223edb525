/**
 * The guest's program is chance: each step takes a number that no other step ever gets, so two
 * machines that both went on from one state can be told apart. All it knows lies in RAM, in devices
 * and in the registers.
 */
import type { SimAccel } from './accel.js';
import { Op, type SimBlk, type SimButton, type SimNic } from './devices.js';
import { pageCount } from './ram.js';
import { sectors } from './model.js';

/** Where the program keeps its state. */
const At = { lastStep: 0, received: 4, packets: 16, completions: 64 } as const;

export interface ProgramWorld {
  nextId(): number;
  step(id: number, parent: number): void;
  powerOff(): void;
}

export class Program {
  readonly disks: SimBlk[] = [];
  readonly nics: SimNic[] = [];

  constructor(
    private readonly accel: SimAccel,
    private readonly button: SimButton,
    private readonly world: ProgramWorld,
  ) {
    accel.program = () => this.run();
  }

  get lastStep(): number {
    return this.accel.ram.get(At.lastStep);
  }

  /** The boot loader leaves nothing of the guest but where its history is. */
  boot(lastStep = this.lastStep): void {
    this.accel.ram.clear();
    this.accel.ram.set(At.lastStep, lastStep);
  }

  completed(disk: number, id: number, failed: boolean): void {
    this.accel.ram.set(At.completions + 8 * disk, id);
    this.accel.ram.set(At.completions + 8 * disk + 4, failed ? 1 : 0);
  }

  received(frame: Uint8Array): void {
    this.accel.ram.set(At.received, frame[14]);
  }

  private run(): void {
    const { ram, random } = this.accel;
    if (this.button.state.pressed) return this.world.powerOff();
    if (!this.sendPending()) return;
    const id = this.world.nextId();
    this.world.step(id, this.lastStep);
    ram.set(At.lastStep, id);
    for (let i = random.below(6); i > 0; i--) {
      ram.set(4096 + 4 * random.below((pageCount - 1) * 1024), random.chance(0.2) ? 0 : id);
    }
    for (const disk of this.disks) if (disk.idle && random.chance(0.4)) this.request(disk, id);
    if (!random.chance(0.6)) return;
    ram.set(At.packets + 4 * random.below(this.nics.length), id);
    this.sendPending();
  }

  private request(disk: SimBlk, id: number): void {
    const { random } = this.accel;
    const dice = random.next();
    const op =
      dice < 0.7
        ? Op.WRITE
        : dice < 0.78
          ? Op.ZEROES
          : dice < 0.86
            ? Op.FLUSH
            : dice < 0.95
              ? Op.READ
              : Op.DISCARD;
    const count = op === Op.FLUSH ? 0 : random.chance(0.1) ? 40 : 1 + random.below(8);
    disk.submit({ op, sector: random.below(sectors - count), count, id });
  }

  /** False: a frame of an earlier step still waits for room. */
  sendPending(): boolean {
    const { ram } = this.accel;
    for (const [n, nic] of this.nics.entries()) {
      const id = ram.get(At.packets + 4 * n);
      if (id === 0) continue;
      if (!nic.send(frameOf(id))) return false;
      ram.set(At.packets + 4 * n, 0);
    }
    return true;
  }
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
