/**
 * Goal: an exception of one device is the end of that device, and of nothing else. Method: on the
 * whole board one device at a time is made to throw, at each door through which the world comes in;
 * accesses, doorbells, timers, frames, characters, disk answers, pause, resume, save and load. Then
 * the others work, a checkpoint goes to another board, and a reset brings the device back.
 */
import { beforeEach, describe, expect, test } from '@jest/globals';
import { AssertionError } from '../../src/base/errors.js';
import type { Device } from '../../src/hw/device.js';
import { newPainter } from '../../src/hw/display/surface.js';
import { Pid } from '../../src/hw/usb/contract.js';
import { blob, counted, record, text, u32 } from '../../src/fields/field.js';
import { settle } from '../support/device-bench.js';
import { FullBoard } from '../support/full-board.js';
import { request, usbDriver } from '../support/usb-driver.js';
import { PciDriver, DriverQueue, F } from '../support/virtio-driver.js';

const NEEDS_RESET = 64;
const ids = new FullBoard().devices.map(device => device.id);
const isVirtio = (id: string) => id === 'blk0' || id === 'net-pci0';

let board: FullBoard;
let broken: string[];
const find = (id: string, on = board): Device => on.board.devices.find(id)!;

function watched(): FullBoard {
  const b = new FullBoard();
  b.broken = id => void broken.push(id);
  return b;
}

beforeEach(() => {
  broken = [];
  board = watched();
  board.board.devices.resume();
});

/** The device's own methods throw from now on; those of its state and containment stay. */
function sabotage(
  device: object,
  names: readonly string[],
  error: () => Error = () => new RangeError('planted'),
): () => void {
  const target = device as Record<string, unknown>;
  for (const name of names) {
    target[name] = () => {
      throw error();
    };
  }
  return () => names.forEach(name => delete target[name]);
}

/** Every port, BAR and configuration register of the device is read and written. */
function touch(id: string): number[] {
  const seen: number[] = [];
  for (const range of board.board.bus.ports.list().filter(r => r.name === id)) {
    for (let port = range.base; port < range.base + range.length; port++) {
      if (port === 0xcf9) continue; // resets the machine
      seen.push(board.vm.in(port));
      board.vm.out(port, 0);
    }
  }
  for (const range of board.board.bus.mmio.list().filter(r => r.name.startsWith(`${id} `))) {
    seen.push(Number(board.vm.load(range.base, 4)));
    board.vm.store(range.base, 0, 4);
  }
  const fn = board.board.pci.functions().find(f => f.id === id);
  if (fn && id !== 'pci-host') {
    board.vm.out(0xcf8, 0x8000_0000 + fn.slotNumber * 0x800 + fn.functionNumber * 0x100, 4);
    seen.push(board.vm.in(0xcfc, 4));
  }
  if (id === 'vga') board.board.screen!.paint(newPainter());
  // A packet that gets no answer.
  if (id in usbPorts) seen.push(answers(usbPorts[id]) ? 0 : 0xff);
  if (id in ideSelects) {
    board.vm.out(0x1f6, ideSelects[id]);
    for (let port = 0x1f0; port < 0x1f8; port++) seen.push(board.vm.in(port));
  }
  return seen;
}

/** Of both drives on the first channel: what the device register is given. */
const ideSelects: Readonly<Record<string, number>> = { hd0: 0xa0, 'cd-drive0': 0xb0 };
/** By device: its port. */
const usbPorts: Readonly<Record<string, number>> = { tablet0: 0, kbd0: 1 };

function answers(port: number): boolean {
  const driver = usbDriver(board);
  driver.start();
  driver.resetPort(port);
  const [end] = driver.run([{ pid: Pid.SETUP, data: request(0x8006, 0x0100, 0, 18) }]);
  driver.set(0, 0);
  return (end.control & 0x0040_0000) === 0;
}

const doors = [
  'transact',
  'paint',
  'pioRead',
  'pioWrite',
  'mmioRead',
  'mmioWrite',
  'configRead',
  'configWrite',
  'barMapped',
];
const all = [...doors, 'afterLoad', 'beforeSave', 'pause', 'resume'];

/** Another board takes the checkpoint of this one. */
async function checkpoint(): Promise<FullBoard> {
  await board.board.devices.pause();
  const blob = board.board.devices.save();
  const other = watched();
  await other.board.devices.pause();
  other.board.devices.parse(blob).apply();
  other.board.devices.resume();
  board.board.devices.resume();
  return other;
}

describe.each(ids)('%s throws wherever it is touched', id => {
  test('its accesses read all ones, everybody hears of it once, the others work', () => {
    sabotage(find(id), all);
    if (isVirtio(id)) sabotage((find(id) as unknown as { msix: object }).msix, doors);
    touch(id);
    const ones = touch(id);
    expect(broken).toEqual([id]);
    const words = ['vga', 'piix3', 'piix3-ide', 'testdev0', 'uhci0', 'e1000'];
    const wide = isVirtio(id) || words.includes(id) ? [0xffff_ffff] : [];
    const bytes = isVirtio(id) || id === 'piix3' ? [] : [0xff];
    expect(new Set(ones)).toEqual(new Set([...bytes, ...wide]));
    if (isVirtio(id)) expect((find(id).state as { status: number }).status).toBe(NEEDS_RESET);
    for (const other of ids.filter(o => o !== id))
      expect([other, find(other).failure]).toEqual([other, undefined]);
    board.vm.out(0x2f8 + 7, id === 'serial1' ? 0 : 0x5a);
    expect(board.vm.in(0x2f8 + 7)).toBe(id === 'serial1' ? 0xff : 0x5a);
  });

  test('a checkpoint continues, the other side knows, and a reset of the machine mends it', async () => {
    const mend = sabotage(find(id), all);
    find(id).contain(
      () => (find(id) as unknown as Record<string, () => void>)['pioRead'](),
      undefined,
    );
    const other = await checkpoint();
    expect(find(id, other).failure).toBe('RangeError: planted');
    expect(ids.filter(o => find(o, other).failure !== undefined)).toEqual([id]);
    expect(broken).toEqual([id]);
    mend();
    board.board.reset();
    expect(find(id).failure).toBeUndefined();
    const next = await checkpoint();
    expect(find(id, next).failure).toBeUndefined();
  });

  test.each(['beforeSave', 'afterLoad', 'pause', 'resume', 'reset'])(
    '%s throws: the set of all devices goes on',
    async verb => {
      const mend = sabotage(find(id), [verb]);
      if (verb === 'reset') board.board.reset();
      const blob = (await checkpoint()).board.devices.save();
      board.board.devices.parse(blob).apply();
      expect(new Set(broken)).toEqual(new Set([id]));
      mend();
    },
  );
});

test('a state that cannot be saved is that of a device that needs a reset', async () => {
  (find('blk0').state as { status: number }).status = -1;
  (find('rtc').state as { index: unknown }).index = Number.NaN;
  (find('serial0').state as { divider: number }).divider = 1e9;
  const other = await checkpoint();
  expect(broken.sort()).toEqual(['blk0', 'serial0']);
  expect(find('blk0', other).failure).toMatch(/^RangeError/);
  expect((find('blk0', other).state as { status: number }).status).toBe(NEEDS_RESET);
});

test('a checkpoint from before devices could be broken is taken as one of whole devices', async () => {
  const section = {
    id: text(128),
    vmstate: text(64),
    version: u32,
    crc: u32,
    data: blob(1 << 20),
  };
  const now = record({
    magic: u32,
    format: u32,
    sections: counted(record({ ...section, failure: text(1000) }), 99),
  });
  const before = record({ magic: u32, format: u32, sections: counted(record(section), 99) });
  await board.board.devices.pause();
  const saved = now.decode(board.board.devices.save());
  expect([saved.format, saved.sections.every(s => s.failure === '')]).toEqual([2, true]);
  board.board.devices.parse(before.encode({ ...saved, format: 1 })).apply();
  expect(board.devices.filter(d => d.failure !== undefined)).toEqual([]);
  const broken = saved.sections.map(s => ({ ...s, failure: s.id === 'rtc' ? 'why \x1b' : '' }));
  board.board.devices.parse(now.encode({ ...saved, sections: broken })).apply();
  expect(board.devices.filter(d => d.failure !== undefined).map(d => [d.id, d.failure])).toEqual([
    ['rtc', 'why \\x1b'],
  ]);
});

describe('virtio', () => {
  let driver: PciDriver;
  const up = (slot: number, queues: number): DriverQueue[] => {
    driver = new PciDriver(board as never, slot);
    driver.negotiate([F.VERSION_1]);
    driver.enableMsix(queues + 1);
    driver.write(0x10, queues, 2);
    const list = Array.from(
      { length: queues },
      (_, i) => new DriverQueue(driver, i, 16, 0x10000 * (1 + i), false, i),
    );
    driver.ready();
    return list;
  };
  const blk = () => find('blk0') as unknown as { model: object };
  const net = () => find('net-pci0') as unknown as { model: object };
  const flush = (queue: DriverQueue) => {
    board.vm.ram.write(0x8000, Buffer.alloc(64));
    board.vm.ram.writeU32(0x8000, 4);
    queue.add([
      { gpa: 0x8000, length: 16 },
      { gpa: 0x8040, length: 1, write: true },
    ]);
    queue.kick();
  };

  test(
    'a doorbell that throws: NEEDS_RESET, the configuration interrupt, and the ring is left ' +
      'alone',
    async () => {
      const [queue] = up(1, 1);
      board.vm.messages.length = 0;
      const mend = sabotage(blk().model, ['handleQueue'], () => new TypeError('planted'));
      flush(queue);
      expect(driver.status & NEEDS_RESET).toBe(NEEDS_RESET);
      // the vector of configuration changes
      expect(board.vm.messages.map(m => m.data)).toEqual([0x41]);
      expect(broken).toEqual(['blk0']);
      mend();
      flush(queue);
      await settle();
      expect(board.disk.log).toEqual([]);
      const [again] = up(1, 1); // what a driver does: reset, negotiate, start
      flush(again);
      await settle();
      expect([driver.status & NEEDS_RESET, board.disk.log, again.take().length]).toEqual([
        0,
        ['flush'],
        1,
      ]);
    },
  );

  test('a request that throws on its way, and one whose answer does', async () => {
    for (const name of ['execute', 'complete']) {
      const [queue] = up(1, 1);
      const mend = sabotage(blk().model, [name], () => new AssertionError('planted'));
      broken = [];
      flush(queue);
      await settle();
      expect([name, broken, driver.status & NEEDS_RESET, queue.take()]).toEqual([
        name,
        ['blk0'],
        NEEDS_RESET,
        [],
      ]);
      mend();
      await checkpoint();
    }
  });

  test('a frame that throws: it is dropped, and so are those behind it', () => {
    up(2, 3);
    const mend = sabotage(net().model, ['take']);
    board.net.arrive(Buffer.alloc(64, 0xff));
    board.net.arrive(Buffer.alloc(64, 0xff));
    expect([board.net.waiting.length, broken, driver.status & NEEDS_RESET]).toEqual([
      0,
      ['net-pci0'],
      NEEDS_RESET,
    ]);
    mend();
  });

  test('room in the netdev, a resize of the disk, an announcement', () => {
    up(2, 3);
    sabotage(net().model, ['hasRoom', 'transmit', 'goOn']);
    board.net.drain();
    up(1, 1);
    sabotage(find('blk0'), ['configChanged']);
    board.disk.resized();
    expect(broken).toEqual(['net-pci0', 'blk0']);
  });

  test('the driver may break it again and again; each time a reset brings it back', () => {
    for (let i = 0; i < 5; i++) {
      const [queue] = up(1, 1);
      const mend = sabotage(blk().model, ['handleQueue']);
      flush(queue);
      expect(driver.status & NEEDS_RESET).toBe(NEEDS_RESET);
      mend();
    }
    expect(broken.length).toBe(5);
  });
});

test(
  'characters and timers: a broken UART takes no more input, and keeps none of the others from ' +
    'it',
  () => {
    sabotage(find('serial0'), ['arrived']);
    board.chr.type('x');
    expect([broken, board.chr.paused, board.vm.in(0x3f8 + 5)]).toEqual([['serial0'], true, 0xff]);
    board.chr.type('y');
    sabotage(find('rtc'), ['syncSeconds']);
    board.vm.out(0x70, 0x0b);
    expect(broken).toEqual(['serial0']);
    board.vm.out(0x71, 0x12); // update interrupts
    board.host.advance(3000);
    expect(broken).toEqual(['serial0', 'rtc']);
  },
);

test('a screen whose card throws shows what it showed, and all of it when the card is whole', () => {
  const { screen } = board.board;
  const looked = newPainter();
  const { surface } = screen!.paint(looked);
  const mend = sabotage(find('vga'), ['paint']);
  const all = [{ x: 0, y: 0, width: surface.width, height: surface.height }];
  expect(screen!.paint(looked)).toEqual({ surface, changed: all });
  expect(screen!.paint(looked)).toEqual({ surface, changed: [] });
  const { width, height } = screen!.paint(newPainter()).surface;
  expect([broken, width, height]).toEqual([['vga'], 640, 480]);
  mend();
  board.board.reset();
  expect(screen!.paint(looked).changed).toEqual(all);
  expect(screen!.paint(looked).changed).toEqual([]);
});

describe("a mistake behind the wiring is not the device's: it is not contained", () => {
  test('an interrupt controller, a netdev', () => {
    board.vm.setIrq = () => {
      throw new TypeError('planted outside');
    };
    board.vm.out(0x3f8 + 4, 0x08);
    expect(() => board.vm.out(0x3f8 + 1, 0x02)).toThrow('planted outside');
    expect(broken).toEqual([]);
  });

  test('a chardev', () => {
    board.chr.write = () => {
      throw new AssertionError('planted outside');
    };
    board.vm.out(0x3f8, 0x41);
    expect(() => board.host.advance(1)).toThrow('planted outside');
    expect(broken).toEqual([]);
  });
});
