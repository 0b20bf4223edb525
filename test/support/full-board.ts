/**
 * The whole PC of machine/board.ts without CPUs: every device that exists, for the tests that hold
 * for all of them.
 */
import type { Ram } from '../../src/accel/contract.js';
import type { Clock } from '../../src/host/ports.js';
import { Board } from '../../src/machine/board.js';
import type { Device } from '../../src/hw/device.js';
import type { DeviceType } from '../../src/hw/device-type.js';
import { deviceTypes } from '../../src/hw/device-types.js';
import type { DeviceSpec } from '../../src/machine/spec.js';
import { fromWords } from '../../src/words/from-words.js';
import { parseKeyValues } from '../../src/words/key-values.js';
import { BenchClock, TestChar, TestDisk, TestNet } from './device-bench.js';
import { FakeRam } from './fake-ram.js';
import { FakeVm } from './fake-vm.js';
import type { Random } from './random.js';

const shortNames: Readonly<Record<string, string>> = {
  'virtio-blk-pci': 'blk0',
  'virtio-net-pci': 'net-pci0',
  VGA: 'vga',
  'isa-debug-exit': 'exit0',
  'isa-debugcon': 'debugcon0',
  'pc-testdev': 'testdev0',
  'ide-hd': 'hd0',
  'ide-cd': 'cd-drive0',
  'piix3-usb-uhci': 'uhci0',
  'usb-tablet': 'tablet0',
  'usb-kbd': 'kbd0',
  e1000: 'e1000',
};
/** A controller has two ports, and a mouse is a tablet with another report. */
export const withoutRoom = ['usb-mouse'];
const oneOf = ({ name, properties, example }: DeviceType): DeviceSpec => ({
  model: name,
  id: shortNames[name] ?? `${name}0`,
  properties: example === '' ? {} : fromWords(properties, parseKeyValues(example)),
});

export class FullBoard {
  readonly vm: FakeVm;
  readonly host: BenchClock;
  readonly chr = new TestChar();
  /** Of the debug console. */
  readonly log = new TestChar();
  readonly disk = new TestDisk(64);
  readonly net = new TestNet();
  /** Of the e1000. */
  readonly wire = new TestNet();
  readonly events: string[] = [];
  readonly board: Board;
  /** No test breaks a device but by intent. */
  broken: (id: string, why: string, thrown: unknown) => void = (_id, _why, thrown) => {
    throw thrown;
  };

  /** host: without it, time moves when told. */
  constructor({ host, ram = new FakeRam(4 << 20) }: { host?: Clock; ram?: Ram } = {}) {
    this.vm = new FakeVm(ram);
    this.host = new BenchClock(this.vm);
    this.board = new Board(
      this.vm,
      host ?? this.host,
      [this.chr, undefined],
      {
        // Memory without a card's part has no card.
        specs: deviceTypes
          .filter(({ name }) => name !== 'VGA' || ram.video)
          .filter(({ name }) => !withoutRoom.includes(name))
          .map(oneOf),
        backends: {
          drive: () => this.disk,
          netdev: (_id, device) => (device.startsWith('e1000') ? this.wire : this.net).netdev,
          chardev: () => this.log,
          rom: () => Buffer.of(0x55, 0xaa, 1),
        },
      },
      {
        power: {
          reset: why => void this.events.push(why),
          powerOff: () => void this.events.push('off'),
        },
        exit: status => void this.events.push(`exit ${status}`),
        broken: (id, why, thrown) => this.broken(id, why, thrown),
      },
    );
    this.board.reset();
  }

  get devices(): readonly Device[] {
    return this.board.devices.all;
  }

  /**
   * A guest gone mad: accesses of every size, mostly where something answers. only: the device that
   * it is mad at.
   */
  poke(random: Random, times: number, only = ''): void {
    const ports = this.board.bus.ports.list().filter(range => range.name.startsWith(only));
    for (let i = 0; i < times; i++) {
      const ranges = this.board.bus.mmio.list().filter(range => range.name.startsWith(only));
      const size = 1 << random.below(3);
      const value =
        random.below(4) === 0 ? random.below(4) : Math.floor(random.next() * 2 ** (8 * size));
      const near = random.below(8) > 0;
      switch (random.below(4)) {
        case 0:
          this.vm.out(this.port(random, ports, near), value, size);
          break;
        case 1:
          this.vm.in(this.port(random, ports, near), size);
          break;
        case 2:
          this.vm.store(
            this.address(random, ranges, near),
            BigInt(value),
            random.below(10) === 0 ? 8 : size,
          );
          break;
        default:
          this.vm.load(this.address(random, ranges, near), random.below(10) === 0 ? 8 : size);
      }
      if (random.below(50) === 0) this.host.advance(random.next() * 20);
    }
  }

  private port(random: Random, ranges: { base: number; length: number }[], near: boolean): number {
    if (!near || ranges.length === 0) return random.below(0x10000);
    const range = ranges[random.below(ranges.length)];
    return range.base + random.below(range.length);
  }

  private address(
    random: Random,
    ranges: { base: number; length: number }[],
    near: boolean,
  ): number {
    if (!near || ranges.length === 0) return 0xc000_0000 + random.below(0x3000_0000);
    const range = ranges[random.below(ranges.length)];
    return range.base + (random.below(2) === 0 ? random.below(0x40) : random.below(range.length));
  }
}
