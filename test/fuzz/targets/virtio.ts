/**
 * The virtio devices on real RAM: rings and indirect tables of a hostile driver that also changes
 * them while they are read, registers, the PCI configuration window, frames and answers that come
 * late or not, checkpoints in the middle, mutated states. Nothing throws, and no page is written
 * unlogged.
 */
import type { Random } from '../../support/random.js';
import type { FuzzTarget } from '../target.js';
import { PciDriver } from '../../support/virtio-driver.js';
import { FuzzedBoard, RAM_BYTES, settled } from './board.js';

const RINGS = 0x10000;
const FEATURES = [2, 5, 6, 9, 13, 14, 15, 16, 17, 18, 21, 23, 28, 29, 32];
const COMMON = { QUEUE_SELECT: 0x16, SIZE: 0x18, VECTOR: 0x1a, ENABLE: 0x1c, DESC: 0x20 } as const;
const INTERESTING = [
  0,
  1,
  2,
  3,
  4,
  16,
  64,
  0x7fff,
  0x8000,
  0xffff,
  0x8000_0000,
  0xffff_ffff,
  RAM_BYTES - 1,
  RAM_BYTES,
];

class Hostile {
  readonly it: FuzzedBoard;
  private readonly drivers: PciDriver[];

  constructor(private readonly random: Random) {
    this.it = new FuzzedBoard(random);
    this.drivers = [1, 2].map(slot => new PciDriver(this.it.board as never, slot));
  }

  private get driver(): PciDriver {
    return this.drivers[this.random.below(2)];
  }

  private number(): number {
    const { random } = this;
    return random.below(2) === 0
      ? INTERESTING[random.below(INTERESTING.length)]
      : Math.floor(random.next() * 2 ** 32);
  }

  /** A driver that does what drivers do, up to DRIVER_OK. */
  up(): void {
    const { random, driver } = this;
    driver.negotiate(FEATURES.filter(bit => bit === 32 || random.below(3) > 0));
    if (random.below(2) === 0) driver.enableMsix(4);
    for (let index = 0; index < 3; index++) {
      const size = 1 << random.below(5);
      const at = RINGS * (1 + index);
      driver.write(COMMON.QUEUE_SELECT, index, 2);
      driver.write(COMMON.SIZE, size, 2);
      driver.write(COMMON.VECTOR, index, 2);
      [at, at + 16 * size, at + 0x2000].forEach((gpa, i) => {
        driver.write(COMMON.DESC + 8 * i, gpa);
        driver.write(COMMON.DESC + 8 * i + 4, 0);
      });
      driver.write(COMMON.ENABLE, 1, 2);
      for (let n = 0; n < size; n++) this.descriptor(at + 16 * n, size);
      this.offer(at + 16 * size, size);
    }
    driver.ready();
  }

  /** Mostly sensible: a small buffer in RAM, a next one in the table. */
  descriptor(at: number, size: number): void {
    const { random } = this;
    const b = Buffer.alloc(16);
    const gpa = random.below(12) === 0 ? this.number() : random.below(RAM_BYTES);
    b.writeUInt32LE(gpa, 0);
    if (random.below(40) === 0) b.writeUInt32LE(this.number(), 4);
    b.writeUInt32LE(
      random.below(12) === 0 ? this.number() : 1 + random.below(random.below(2) === 0 ? 64 : 3000),
      8,
    );
    b.writeUInt16LE(random.below(8) === 0 ? random.below(8) : random.below(4), 12);
    b.writeUInt16LE(random.below(size + (random.below(10) === 0 ? 3 : 0)), 14);
    // A request header where the buffer is: the types of virtio-blk, and a sector.
    if (random.below(3) === 0)
      this.it.guestWrite(
        gpa,
        Buffer.of(
          [0, 1, 4, 8, 11, 13, 7][random.below(7)],
          0,
          0,
          0,
          0,
          0,
          0,
          0,
          random.below(70),
          0,
          0,
          0,
          0,
          0,
          0,
          0,
        ),
      );
    this.it.guestWrite(at, b);
  }

  /** Moves the available index, and puts heads there. */
  offer(avail: number, size: number): void {
    const { random } = this;
    const old = this.it.ram.readU16(avail + 2) ?? 0;
    const heads = Buffer.alloc(2 * size);
    for (let n = 0; n < size; n++)
      heads.writeUInt16LE(random.below(size + (random.below(30) === 0 ? 1 : 0)), 2 * n);
    this.it.guestWrite(avail + 4, heads);
    const index = Buffer.alloc(2);
    index.writeUInt16LE(
      (old + (random.below(20) === 0 ? random.below(0x10000) : random.below(size + 1))) % 0x10000,
    );
    this.it.guestWrite(avail + 2, index);
  }

  /** Somewhere in the rings, in the middle of whatever the device does. */
  disturb(): void {
    const { random } = this;
    const at = RINGS * (1 + random.below(3)) + random.below(0x400);
    if (random.below(2) === 0) this.descriptor(at - (at % 16), 16);
    else this.it.guestWrite(at, Buffer.of(random.below(256)));
  }

  async step(): Promise<void> {
    const { random, it } = this;
    const { vm, net, disk, host } = it.board;
    switch (random.below(12)) {
      case 0:
        return this.up();
      case 1:
      case 2:
      case 3:
        return this.kick();
      case 4:
        return this.window();
      case 5:
        return it.board.poke(random, 10, random.below(2) === 0 ? 'blk0' : 'net-pci0');
      case 6:
        return net.arrive(Buffer.alloc(random.below(2000), 0xff));
      case 7:
        if (disk.held) disk.release();
        else if (random.below(2) === 0) disk.held = [];
        disk.broken = random.below(4) === 0;
        return settled();
      case 8:
        return host.advance(random.below(30));
      case 9:
        return it.checkpoint();
      case 10:
        if (random.below(4) === 0) net.full = true;
        else net.drain();
        return;
      default:
        this.disturb();
        for (const bell of vm.bells) if (random.below(2) === 0) bell.ring();
        return settled();
    }
  }

  private kick(): void {
    const { random, driver } = this;
    const index = random.below(3);
    const at = RINGS * (1 + index);
    const size = 1 << random.below(5);
    this.offer(at + 16 * size, size);
    this.it.board.vm.store(driver.address(2) + 4 * index, index, 2);
  }

  /** The window of a driver that cannot reach BARs. */
  private window(): void {
    const { random, driver } = this;
    const { at } = driver.caps.get(5)!;
    driver.setConfig(at + 4, random.below(4) === 0 ? random.below(6) : 0, 1);
    driver.setConfig(at + 8, random.below(4) === 0 ? this.number() : random.below(0x3100));
    driver.setConfig(at + 12, random.below(4) === 0 ? this.number() : 1 << random.below(3));
    const size = 1 << random.below(3);
    const data = at + 16 + (random.below(4) === 0 ? random.below(4 / size) * size : 0);
    if (random.below(2) === 0) driver.setConfig(data, this.number(), size);
    else driver.config(data, size);
  }
}

/** The rings change between two reads of the device. */
function racing(hostile: Hostile, random: Random): () => void {
  const { ram } = hostile.it;
  const { readU16, readU32 } = ram;
  const hit = () => random.below(200) === 0 && hostile.disturb();
  ram.readU16 = gpa => (hit(), readU16.call(ram, gpa));
  ram.readU32 = gpa => (hit(), readU32.call(ram, gpa));
  return () => {
    Object.assign(ram, { readU16: undefined, readU32: undefined });
    delete (ram as Partial<typeof ram>).readU16;
    delete (ram as Partial<typeof ram>).readU32;
  };
}

export const virtioTarget: FuzzTarget = {
  name: 'virtio',
  summary:
    'a hostile driver of virtio-blk and virtio-net: no exception, no page written unlogged, ' +
    'each own state accepted',
  async run(random) {
    const hostile = new Hostile(random);
    hostile.up();
    const calm = random.below(2) === 0 ? () => undefined : racing(hostile, random);
    try {
      for (let n = 3 + random.below(15); n > 0; n--) await hostile.step();
    } finally {
      calm();
    }
    await hostile.it.end();
  },
};
