/**
 * What fuzzed devices have in common: the board on the addon's RAM, a copy of that RAM which holds
 * what guest and devices have written and marked, and checkpoints that compare the two.
 */
import { AddonRam } from '../../../src/accel/ram.js';
import { VmError } from '../../../src/base/errors.js';
import { FullBoard } from '../../support/full-board.js';
import { mutated } from '../../support/mutated.js';
import type { Random } from '../../support/random.js';

const PAGE = 4096;
export const RAM_BYTES = 1 << 20;
/** One for all cases of a process: making it is dear. */
let shared: { ram: AddonRam; bytes: Uint8Array } | undefined;

export class FuzzedBoard {
  readonly board: FullBoard;
  readonly ram: AddonRam;
  private readonly bytes: Uint8Array;
  private readonly shadow: Buffer;

  constructor(readonly random: Random) {
    if (!shared) {
      const ram = new AddonRam(RAM_BYTES);
      const bytes = ram.view(0, RAM_BYTES);
      if (!bytes) throw new Error('the RAM has one window');
      shared = { ram, bytes };
    }
    this.ram = shared.ram;
    this.bytes = shared.bytes;
    this.bytes.fill(0);
    this.shadow = Buffer.alloc(RAM_BYTES);
    if (this.ram.dirtyLog.active) this.ram.dirtyLog.stop();
    this.ram.dirtyLog.start();
    this.board = new FullBoard({ ram: this.ram });
    this.board.board.devices.resume();
  }

  /** A vCPU's store: it marks its pages itself. */
  guestWrite(gpa: number, data: Uint8Array): void {
    if (gpa < 0 || gpa + data.length > RAM_BYTES) return;
    this.bytes.set(data, gpa);
    this.shadow.set(data, gpa);
  }

  /** Stop, compare, save; the own state is accepted; perhaps a mutated one is loaded; on. */
  async checkpoint(): Promise<void> {
    const { devices } = this.board.board;
    await devices.pause();
    this.compare();
    devices.parse(devices.save());
    const changed = this.random.below(3) === 0 ? this.load() : undefined;
    devices.resume();
    if (changed !== undefined) this.board.poke(this.random, 30, changed);
  }

  /** Each page that is not as the copy has it is in the log. */
  compare(): void {
    const dirty = this.ram.dirtyLog.take();
    for (const page of dirty)
      this.shadow.set(this.bytes.subarray(page * PAGE, (page + 1) * PAGE), page * PAGE);
    if (this.shadow.equals(this.bytes)) return;
    const at = this.shadow.findIndex((byte, i) => byte !== this.bytes[i]);
    throw new Error(`the page of 0x${at.toString(16)} was written and is not in the log`);
  }

  /** Returns the id of the device whose state is another now. */
  private load(): string | undefined {
    const { devices } = this.board;
    const device = devices[this.random.below(devices.length)];
    device.beforeSave();
    try {
      device.state = device.vmstate.parse(
        mutated(device.vmstate.save(device.state), this.random),
        device.vmstate.version,
      );
    } catch (error) {
      if (error instanceof VmError) return undefined; // refused, as it should be
      throw error;
    }
    device.afterLoad();
    return device.id;
  }

  /** The end of a case: nothing stays behind in the RAM that all cases share. */
  async end(): Promise<void> {
    const { disk, board } = this.board;
    disk.release();
    await board.devices.pause();
    this.compare();
    board.devices.parse(board.devices.save());
  }
}

/** Promises of disks that answer at once. */
export const settled = async () => {
  for (let i = 0; i < 2; i++) await new Promise<void>(resolve => setImmediate(resolve));
};
