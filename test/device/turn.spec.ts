/**
 * Goal: no device keeps the main loop busy, whatever the guest and the world do. Method: each
 * device of the board, on the real clock, is given more the moment it has taken something, by a
 * driver that runs beside it and a world that never runs dry; a timer of the main loop must fire
 * long before the flood's own end. What a turn may cost is counted in reads of guest RAM, not in
 * time.
 */
import { expect, test } from '@jest/globals';
import type { Clock } from '../../src/host/ports.js';
import { VIRTIO_TURN } from '../../src/hw/turn.js';
import { Pid } from '../../src/hw/usb/contract.js';
import { E1000Driver } from '../support/e1000-driver.js';
import { FullBoard } from '../support/full-board.js';
import { Random } from '../support/random.js';
import { request, usbDriver } from '../support/usb-driver.js';
import { DriverQueue, F, type Part, PciDriver } from '../support/virtio-driver.js';

/** The flood ends by itself after this many pieces: then the main loop was starved. */
const ENDLESS = 20_000;
const RING = 256;

class RealClock implements Clock {
  nowMs(): number {
    return performance.now();
  }
  bootMs(): number {
    return performance.now();
  }
  wallMs(): number {
    return Date.now();
  }
  timer(delayMs: number, fn: () => void): { dispose(): void } {
    const handle = setTimeout(fn, delayMs);
    return { dispose: () => clearTimeout(handle) };
  }
}

class Flood {
  readonly board = new FullBoard({ host: new RealClock() });
  work = 0;
  private turned = false;

  constructor() {
    this.board.vm.guestNs = () => BigInt(Math.round(performance.now() * 1e6));
    this.board.board.devices.resume();
  }

  /** One more piece, if there shall be one. */
  get more(): boolean {
    return !this.turned && ++this.work < ENDLESS;
  }

  /** Work done until a timer of the main loop fired. */
  async untilTurn(start: () => void): Promise<number> {
    const turn = new Promise<void>(resolve => setTimeout(resolve, 0));
    start();
    await turn;
    this.turned = true;
    const { work } = this;
    await this.board.board.devices.pause();
    return work;
  }

  up(slot: number, queues: number, features: readonly number[] = []): DriverQueue[] {
    const driver = new PciDriver(this.board as never, slot);
    driver.negotiate([F.VERSION_1, F.INDIRECT, ...features]);
    driver.enableMsix(queues + 1);
    const list = Array.from(
      { length: queues },
      (_, i) => new DriverQueue(driver, i, RING, 0x10000 * (1 + i), false, i),
    );
    driver.ready();
    return list;
  }

  /** A driver on a processor of its own: what comes back is offered again at once. */
  refill(queue: DriverQueue, parts: readonly Part[]): void {
    const { ram } = this.board.vm;
    const write = ram.writeU16.bind(ram);
    let inside = false;
    ram.writeU16 = (gpa, value) => {
      const done = write(gpa, value);
      if (inside || gpa !== queue.used + 2) return done;
      inside = true;
      for (const _ of queue.take()) if (this.more) queue.add(parts);
      inside = false;
      return done;
    };
    for (let n = 0; n < RING / 4; n++) queue.add(parts);
  }
}

const blkRequest = (board: FullBoard, type: number, length: number): Part[] => {
  board.vm.ram.write(0x8000, Buffer.alloc(16));
  board.vm.ram.writeU32(0x8000, type);
  return [
    { gpa: 0x8000, length: 16 },
    { gpa: 0x9000, length, write: true },
    { gpa: 0x8040, length: 1, write: true },
  ];
};

const floods: Record<string, Record<string, (flood: Flood) => void>> = {
  blk0: {
    'reads that the disk answers at once': flood => {
      const [queue] = flood.up(1, 1);
      flood.refill(queue, blkRequest(flood.board, 0, 512));
      queue.kick();
    },
    'requests of an unknown type': flood => {
      const [queue] = flood.up(1, 1);
      flood.refill(queue, blkRequest(flood.board, 99, 512));
      queue.kick();
    },
  },
  'net-pci0': {
    'frames to send': flood => {
      const queue = flood.up(2, 3)[1];
      flood.refill(queue, [{ gpa: 0x9000, length: 12 + 60 }]);
      queue.kick();
    },
    'control commands': flood => {
      const queue = flood.up(2, 3)[2];
      flood.refill(queue, [
        { gpa: 0x9000, length: 8 },
        { gpa: 0x9100, length: 1, write: true },
      ]);
      queue.kick();
    },
    'frames that arrive, and buffers for all of them': flood => {
      const queue = flood.up(2, 3)[0];
      const { net } = flood.board;
      flood.refill(queue, [{ gpa: 0x9000, length: 2048, write: true }]);
      net.nicReady = () => {
        while (net.nic!.receive(Buffer.alloc(60, 0xff)));
      };
      queue.kick();
    },
  },
  serial0: {
    'a world that never stops typing': flood => {
      const { chr } = flood.board;
      chr.resume = () => {
        chr.paused = false;
        while (!chr.paused && flood.more) chr.type('x');
      };
      flood.board.vm.out(0x3f8 + 4, 0x0b);
      flood.board.vm.out(0x3f8 + 1, 0x01);
    },
  },
  rtc: {
    'the fastest periodic interrupt, acknowledged at once': flood => {
      const { vm } = flood.board;
      const setIrq = vm.setIrq.bind(vm);
      vm.setIrq = (gsi, level) => {
        setIrq(gsi, level);
        if (gsi !== 8 || !level || !flood.more) return;
        vm.out(0x70, 0x0c);
        vm.in(0x71);
      };
      [
        [0x0a, 0x23],
        [0x0b, 0x72],
      ].forEach(([index, value]) => {
        vm.out(0x70, index);
        vm.out(0x71, value);
      });
    },
  },
  hd0: {
    'sectors that the disk gives at once, taken at once': flood => {
      const { vm } = flood.board;
      const setIrq = vm.setIrq.bind(vm);
      const read = () => {
        vm.out(0x1f2, 1);
        vm.out(0x1f6, 0xe0);
        vm.out(0x1f7, 0x20);
      };
      vm.setIrq = (gsi, level) => {
        setIrq(gsi, level);
        if (gsi !== 14 || !level || !flood.more) return;
        queueMicrotask(() => {
          vm.in(0x1f7);
          for (let n = 0; n < 256; n++) vm.in(0x1f0, 2);
          read();
        });
      };
      read();
    },
  },
  'cd-drive0': {
    'blocks that the disk gives at once, taken at once': flood => {
      const { vm } = flood.board;
      const setIrq = vm.setIrq.bind(vm);
      const read = () => {
        vm.out(0x1f6, 0xb0);
        vm.out(0x1f4, 0xfe);
        vm.out(0x1f5, 0xff);
        vm.out(0x1f7, 0xa0);
        for (const word of [0x28, 0, 0, 0, 1, 0]) vm.out(0x1f0, word, 2);
      };
      vm.setIrq = (gsi, level) => {
        setIrq(gsi, level);
        if (gsi !== 14 || !level || !flood.more) return;
        queueMicrotask(() => {
          const hasData = (vm.in(0x1f7) & 0x08) !== 0;
          for (let n = 0; hasData && n < 1024; n++) vm.in(0x1f0, 2);
          if (!hasData) read();
        });
      };
      read();
    },
  },
  uhci0: {
    'transfers that are there again the moment they are done': flood => {
      const driver = usbDriver(flood.board);
      const { ram } = flood.board.vm;
      driver.start();
      driver.resetPort();
      driver.queue([{ pid: Pid.SETUP, data: request(0x8006, 0x0100, 0, 18) }]);
      const write = ram.writeU32.bind(ram);
      ram.writeU32 = (gpa, value) => {
        // The transfer follows itself, in a queue that leads to itself.
        if (gpa === 0x4004) return !flood.more || write(gpa, value | 0x0080_0000);
        return write(gpa, gpa === 0x3004 ? 0x4004 : value);
      };
      ram.writeU32(0x3000, 0x3002);
      ram.writeU32(0x4000, 0x4004);
    },
  },
  e1000: {
    'a packet in pieces of one byte': flood => {
      const { board } = flood;
      const card = board.board.pci.functions().find(({ id }) => id === 'e1000')!;
      card.configWrite(4, 2, 7);
      const driver = new E1000Driver(board.vm, card.barAddress(0)!);
      board.wire.send = () => flood.more;
      driver.start();
      driver.queue([0, 0, 0x2500_0000, 54 * 0x100 + 0x10000]);
      for (let n = 0; n < 3; n++) driver.queue([0x10_0000, 0, 0x2410_ffff, 0]);
      driver.queue([0x10_0000, 0, 0x2d10_ffff, 0]);
      driver.kick();
    },
  },
  debugcon0: {
    'a log that goes on when the world has it': flood => {
      const { board } = flood;
      const say = () => flood.more && board.vm.out(0x402, 0x2e);
      board.log.write = () => {
        queueMicrotask(say);
        return true;
      };
      say();
    },
  },
  'acpi-pm': {
    'the timer, acknowledged at once': flood => {
      const { vm } = flood.board;
      vm.setIrq = (gsi, level) => {
        if (gsi === 9 && level && flood.more) vm.out(0x600, 0x01, 2);
      };
      vm.out(0x602, 0x01, 2);
    },
  },
};
/** These do nothing by themselves: one answer to each access. */
const answering = [
  'pci-host',
  'piix3',
  'piix3-ide',
  'i8042',
  'port92',
  'fw_cfg',
  'serial1',
  'vga',
  'exit0',
  'testdev0',
  'tablet0',
  'kbd0',
];

test('every device of the board is here', () => {
  expect([...Object.keys(floods), ...answering].sort()).toEqual(
    new FullBoard().devices.map(device => device.id).sort(),
  );
});

const cases = Object.entries(floods).flatMap(([id, kinds]) =>
  Object.entries(kinds).map(([what, start]) => ({ id, what, start })),
);

test.each(cases)('$id: $what', async ({ id, start }) => {
  const flood = new Flood();
  const work = await flood.untilTurn(() => start(flood));
  expect(work).toBeLessThan(ENDLESS / 2);
  if (id === 'blk0' || id === 'net-pci0') expect(work).toBeGreaterThanOrEqual(RING / 4);
});

test.each(answering)('%s sets no timer of its own', id => {
  const board = new FullBoard();
  board.board.devices.resume();
  // A card looks once for what was left lying.
  board.host.advance(0);
  const { armed } = board.host;
  board.poke(new Random(1), 500, id);
  if (id !== 'serial1') expect(board.host.armed).toBe(armed);
});

/**
 * 64 chains of 1024 descriptors in one doorbell. parts: of the indirect table, which all of them
 * share.
 */
function longChains(
  slot: number,
  index: number,
  queues: number,
  parts: readonly Part[],
): { reads: number; rest: number } {
  const board = new FullBoard();
  board.board.devices.resume();
  const driver = new PciDriver(board as never, slot);
  driver.negotiate([F.VERSION_1, F.INDIRECT, 15]);
  driver.enableMsix(queues + 1);
  const list = Array.from(
    { length: queues },
    (_, i) => new DriverQueue(driver, i, RING, 0x10000 * (1 + i), false, i),
  );
  driver.ready();
  for (let n = 0; n < 64; n++) list[index].addIndirect(parts, 0x100000);
  let reads = 0;
  const { ram } = board.vm;
  const read = ram.readU16.bind(ram);
  ram.readU16 = gpa => (reads++, read(gpa));
  if (slot === 2 && index === 0) board.net.waiting.push(Buffer.alloc(1500, 0xff));
  list[index].kick();
  const first = reads;
  board.host.advance(1000);
  return { reads: first, rest: reads - first };
}

/** A descriptor costs two 16-bit reads; a last chain of 1024 may be begun. */
const MOST = 2 * (VIRTIO_TURN.descriptors + 2 * 1024) + 4 * RING;

test.each([
  ['disk requests', 1, 0, 1, false],
  ['frames to send', 2, 1, 3, false],
  ['receive buffers', 2, 0, 3, true],
] as const)(
  '64 chains of 1024 descriptors in one doorbell take several turns: %s',
  (_what, slot, index, queues, write) => {
    const parts = Array.from({ length: 1024 }, (_, i) => ({
      gpa: 0x9000 + i,
      length: 1,
      write: write || (slot === 1 && i === 1023),
    }));
    const { reads, rest } = longChains(slot, index, queues, parts);
    expect(reads).toBeGreaterThan(1024);
    expect(reads).toBeLessThan(MOST);
    if (!write) expect(rest).toBeGreaterThan(reads);
  },
);
