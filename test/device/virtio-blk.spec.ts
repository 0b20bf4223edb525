/**
 * The disk as a driver sees it (virtio 1.1, section 5.2): every request type, its errors, several
 * in flight, draining at a pause.
 */
import { beforeEach, describe, expect, test } from '@jest/globals';
import { VirtioBlk } from '../../src/hw/block/virtio-blk.js';
import { settle, TestDisk } from '../support/device-bench.js';
import { VirtioBench } from '../support/virtio-bench.js';
import { type DriverQueue, F, type Part, type PciDriver } from '../support/virtio-driver.js';

const Feature = { FLUSH: 9, DISCARD: 13, WRITE_ZEROES: 14 } as const;
const ALL = Object.values(Feature);
const Type = { IN: 0, OUT: 1, FLUSH: 4, GET_ID: 8, DISCARD: 11, WRITE_ZEROES: 13 } as const;
const HEADERS = 0x80000;
const DATA = 0x100000;
let disk: TestDisk;
let bench: VirtioBench<unknown>;
let driver: PciDriver;
let queue: DriverQueue;
let requests = 0;

function start(features: readonly number[] = ALL, readOnly = false): void {
  disk = new TestDisk(2048, readOnly);
  requests = 0;
  bench = new VirtioBench(() => new VirtioBlk(disk, 'SN-0815'));
  ({
    driver,
    queues: [queue],
  } = bench.up(features));
}
beforeEach(() => start());

const statusAt = (n: number) => HEADERS + 64 * n + 32;
/** Builds a request's chain; data: bytes for the device, or how many it shall write. */
function chain(type: number, sector: number, data: Buffer | number): Part[] {
  const n = requests++;
  const { ram } = bench.vm;
  ram.writeU32(HEADERS + 64 * n, type);
  ram.writeU32(HEADERS + 64 * n + 4, 0);
  ram.writeU64(HEADERS + 64 * n + 8, BigInt(sector));
  ram.writeU8(statusAt(n), 0xee);
  const parts: Part[] = [{ gpa: HEADERS + 64 * n, length: 16 }];
  const at = DATA + 0x10000 * n;
  if (typeof data === 'number') {
    if (data > 0) parts.push({ gpa: at, length: data, write: true });
  } else {
    ram.write(at, data);
    if (data.length > 0) parts.push({ gpa: at, length: data.length });
  }
  return [...parts, { gpa: statusAt(n), length: 1, write: true }];
}
async function request(
  type: number,
  sector: number,
  data: Buffer | number,
): Promise<{ status: number; length: number; data: Buffer }> {
  const n = requests;
  queue.add(chain(type, sector, data));
  queue.kick();
  await settle();
  const [done] = queue.take();
  return {
    status: bench.vm.ram.readU8(statusAt(n))!,
    length: done?.length,
    data: bench.vm.ram.read(DATA + 0x10000 * n, 1024)!,
  };
}
const range = (sector: number, sectors: number, flags = 0) => {
  const b = Buffer.alloc(16);
  b.writeBigUInt64LE(BigInt(sector), 0);
  b.writeUInt32LE(sectors, 8);
  b.writeUInt32LE(flags, 12);
  return b;
};

test('capacity, block size and limits', () => {
  const config = driver.address(4);
  expect(Number(bench.vm.load(config, 8))).toBe(2048);
  expect([
    Number(bench.vm.load(config + 12)),
    Number(bench.vm.load(config + 20)),
    Number(bench.vm.load(config + 40)),
  ]).toEqual([254, 512, 1]);
  // One discard, one write-zeroes: 128 MiB, so that a stop waits for no more.
  expect([Number(bench.vm.load(config + 36)), Number(bench.vm.load(config + 48))]).toEqual([
    0x4_0000, 0x4_0000,
  ]);
});

test('what is written is read back', async () => {
  const data = Buffer.alloc(1024, 'colo');
  expect(await request(Type.OUT, 7, data)).toMatchObject({ status: 0, length: 1 });
  const back = await request(Type.IN, 7, 1024);
  expect(back).toMatchObject({ status: 0, length: 1025 });
  expect(back.data.equals(data)).toBe(true);
  expect(disk.log).toEqual(['write 3584 1024', 'read 3584 1024']);
});

test('flush; and without that feature each write goes through', async () => {
  await request(Type.FLUSH, 0, 0);
  expect(disk.log).toEqual(['flush']);
  start([]);
  await request(Type.OUT, 0, Buffer.alloc(512));
  expect(disk.log).toEqual(['write 0 512 fua']);
});

test('the serial number, padded', async () => {
  const id = await request(Type.GET_ID, 0, 20);
  expect(id.data.toString('latin1', 0, 20)).toBe('SN-0815' + '\0'.repeat(13));
});

test('discard and write zeroes', async () => {
  for (const one of [range(0, 8), range(100, 1)])
    expect((await request(Type.DISCARD, 0, one)).status).toBe(0);
  expect((await request(Type.WRITE_ZEROES, 0, range(16, 4, 1))).status).toBe(0);
  expect(disk.log).toEqual(['discard 0 4096', 'discard 51200 512', 'zeroes 8192 2048']);
});

describe('errors', () => {
  test.each([
    ['beyond the end', Type.IN, 2048, 512, 1],
    ['across the end', Type.IN, 2047, 1024, 1],
    ['half a sector', Type.IN, 0, 100, 1],
    ['no data', Type.IN, 0, 0, 1],
    ['an unknown type', 99, 0, 512, 2],
    ['discard with a flag', Type.DISCARD, 0, range(0, 8, 1), 2],
    ['zeroes with a reserved flag', Type.WRITE_ZEROES, 0, range(0, 8, 2), 2],
    ['discard beyond the end', Type.DISCARD, 0, range(2040, 9), 1],
    ['discard of nothing', Type.DISCARD, 0, range(0, 0), 1],
    [
      'more ranges than are offered',
      Type.DISCARD,
      0,
      Buffer.concat([range(0, 8), range(100, 1)]),
      1,
    ],
    ['half a range', Type.DISCARD, 0, Buffer.alloc(8), 1],
  ])('%s', async (_name, type, sector, data, status) => {
    expect((await request(type, sector, data)).status).toBe(status);
    expect(disk.log).toEqual([]);
  });

  test('a sector number that would wrap', async () => {
    const parts = chain(Type.IN, 0, 512);
    bench.vm.ram.writeU64(HEADERS + 8, 0xffff_ffff_ffff_ffffn);
    queue.add(parts);
    queue.kick();
    await settle();
    expect(bench.vm.ram.readU8(statusAt(0))).toBe(1);
  });

  test('a write to a read-only disk', async () => {
    start(ALL, true);
    expect(driver.offered & (1n << 5n)).not.toBe(0n);
    expect((await request(Type.OUT, 0, Buffer.alloc(512))).status).toBe(1);
    expect((await request(Type.DISCARD, 0, range(0, 8))).status).toBe(2);
  });

  test('of the backend', async () => {
    disk.broken = true;
    expect((await request(Type.IN, 0, 512)).status).toBe(1);
    expect((await request(Type.OUT, 0, Buffer.alloc(512))).status).toBe(1);
  });

  test('a chain without header or status breaks the device, not us', async () => {
    queue.add([
      { gpa: HEADERS, length: 8 },
      { gpa: HEADERS + 32, length: 1, write: true },
    ]);
    queue.kick();
    await settle();
    expect(driver.status & 0x40).toBe(0x40);
  });
});

test('several in flight are answered as they come', async () => {
  disk.held = [];
  for (let i = 0; i < 4; i++) queue.add(chain(Type.IN, i, 512));
  queue.kick();
  await settle();
  expect([disk.log.length, queue.take().length]).toEqual([4, 0]);
  disk.release();
  await settle();
  expect(queue.take().length).toBe(4);
});

test('a driver that offers its chains again and again does not fill our memory', async () => {
  disk.held = [];
  const head = queue.add(chain(Type.FLUSH, 0, 0));
  for (let round = 0; round < 26; round++) {
    for (let i = 0; i < 10; i++) queue.expose(head);
    queue.kick();
  }
  await settle();
  expect(disk.log.length).toBe(256);
  disk.release();
  await settle();
  bench.host.advance(1); // 256 in one turn of the main loop
  await settle();
  expect(disk.log.length).toBe(261);
});

test('event index and indirect descriptors, as Linux uses them', async () => {
  start([...ALL, F.EVENT_IDX, F.INDIRECT]);
  for (let i = 0; i < 40; i++) {
    queue.addIndirect(chain(Type.OUT, i % 16, Buffer.alloc(512, i)), 0x60000);
    queue.kick();
    await settle();
    expect(queue.take().length).toBe(1);
    requests = 0;
  }
  expect(disk.data[8 * 512]).toBe(24);
});

describe('pause', () => {
  test('waits for requests in flight, writes their answers, then touches nothing', async () => {
    disk.held = [];
    queue.add(chain(Type.IN, 0, 512));
    queue.kick();
    await settle();
    let paused = false;
    const pausing = bench.device.pause().then(() => (paused = true));
    await settle();
    expect(paused).toBe(false);
    disk.release();
    await pausing;
    expect(queue.take().length).toBe(1);
    queue.add(chain(Type.IN, 1, 512));
    queue.kick();
    await settle();
    expect([disk.log.length, queue.take().length]).toEqual([1, 0]);
    bench.device.resume();
    await settle();
    expect(queue.take().length).toBe(1);
  });

  test('what the guest put into the ring comes to the disk after a load elsewhere', async () => {
    await bench.device.pause();
    queue.add(chain(Type.OUT, 3, Buffer.alloc(512, 7)));
    queue.kick();
    bench.device.beforeSave();
    const blob = bench.device.vmstate.save(bench.device.state);
    const other = new VirtioBench(() => new VirtioBlk(disk, 'SN-0815'));
    await other.device.pause();
    other.vm.ram.write(0, bench.vm.ram.read(0, bench.vm.ram.size)!);
    other.device.state = other.device.vmstate.parse(blob, 2) as typeof other.device.state;
    other.device.afterLoad();
    expect([...other.vm.bells].length).toBe(1);
    other.device.resume();
    await settle();
    expect(disk.log).toEqual(['write 1536 512']);
    expect(other.vm.messages.length).toBe(1);
  });
});

describe('a request that fails by werror=stop', () => {
  const data = Buffer.alloc(1024, 'kept');
  const moved = (blob: Buffer) => {
    const other = new VirtioBench(() => new VirtioBlk(disk, 'SN-0815'));
    return other.device.pause().then(() => {
      other.vm.ram.write(0, bench.vm.ram.read(0, bench.vm.ram.size)!);
      other.device.state = other.device.vmstate.parse(blob, 2) as typeof other.device.state;
      other.device.afterLoad();
      return other;
    });
  };
  const saved = () => (bench.device.beforeSave(), bench.device.vmstate.save(bench.device.state));
  const fail = async () => {
    disk.action = 'stop';
    disk.broken = true;
    queue.add(chain(Type.OUT, 7, data));
    queue.add(chain(Type.FLUSH, 0, 0));
    queue.kick();
    await settle();
    expect(queue.take()).toEqual([]);
    expect([bench.vm.ram.readU8(statusAt(0)), bench.vm.ram.readU8(statusAt(1))]).toEqual([
      0xee, 0xee,
    ]);
    await bench.device.pause();
    disk.log.length = 0;
  };

  test('waits, and is tried again when the VM runs', async () => {
    await fail();
    disk.broken = false;
    bench.device.resume();
    await settle();
    expect(disk.log.sort()).toEqual(['flush', 'write 3584 1024']);
    expect(queue.take().length).toBe(2);
    expect([bench.vm.ram.readU8(statusAt(0)), bench.vm.ram.readU8(statusAt(1))]).toEqual([0, 0]);
    expect(disk.data.subarray(3584, 4608).equals(data)).toBe(true);
  });

  test('fails again, waits again, and does not spin', async () => {
    await fail();
    bench.device.resume();
    await settle();
    expect(disk.log.filter(line => !line.includes('error')).sort()).toEqual([
      'flush',
      'write 3584 1024',
    ]);
    await bench.device.pause();
    disk.broken = false;
    bench.device.resume();
    await settle();
    expect(queue.take().length).toBe(2);
  });

  test('goes where the state goes', async () => {
    await fail();
    disk.broken = false;
    const other = await moved(saved());
    other.device.resume();
    await settle();
    expect(disk.log.sort()).toEqual(['flush', 'write 3584 1024']);
    expect([other.vm.ram.readU8(statusAt(0)), other.vm.messages.length]).toEqual([0, 2]);
  });

  test('a hostile state: heads that are no chains break the queue, not us', async () => {
    await fail();
    const blob = saved();
    blob.writeUInt16BE(0xffff, blob.length - 2);
    const other = await moved(blob);
    other.device.resume();
    await settle();
    expect(other.device.state.status & 0x40).toBe(0x40);
  });

  test('is forgotten with a reset of the device', async () => {
    await fail();
    bench.device.resume();
    driver.status = 0;
    await settle();
    expect(bench.device.state.model).toMatchObject({ parked: [] });
  });

  test('the ring full of them takes no more, and all come back', async () => {
    disk.action = 'stop';
    disk.broken = true;
    const head = queue.add(chain(Type.FLUSH, 0, 0));
    for (let round = 0; round < 26; round++) {
      for (let i = 0; i < 10; i++) queue.expose(head);
      queue.kick();
      await settle();
    }
    await bench.device.pause();
    expect((bench.device.state.model as { parked: number[] }).parked.length).toBe(256);
    saved();
    disk.log.length = 0;
    disk.broken = false;
    bench.device.resume();
    await settle();
    bench.host.advance(1); // 256 in one turn of the main loop
    await settle();
    expect(disk.log.length).toBe(261);
  });

  test('ignore tells the guest that it went well; report that it did not', async () => {
    disk.broken = true;
    disk.action = 'ignore';
    expect((await request(Type.OUT, 0, data)).status).toBe(0);
    disk.action = 'report';
    expect((await request(Type.OUT, 0, data)).status).toBe(1);
    expect(disk.log.filter(line => line.includes('error'))).toEqual([
      'write error: ignore',
      'write error: report',
    ]);
  });
});
