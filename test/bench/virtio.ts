/**
 * What a request costs in the device alone, as one JSON object: `node --import tsx
 * test/bench/virtio.ts`. Rings in the addon's RAM, a disk and a network that answer at once.
 */
import { AddonRam } from '../../src/accel/ram.js';
import { VirtioBlk } from '../../src/hw/block/virtio-blk.js';
import { VirtioNet } from '../../src/hw/net/virtio-net.js';
import type { VirtioModel } from '../../src/hw/virtio/model.js';
import { TestDisk, TestNet } from '../support/device-bench.js';
import { VirtioBench } from '../support/virtio-bench.js';
import { F } from '../support/virtio-driver.js';

const RING = 64;
const ROUNDS = 2000;
const round = (value: number) => Number(value.toPrecision(3));

class Disk extends TestDisk {
  override pread = async (_offset: number, length: number) => Buffer.allocUnsafe(length);
  override pwrite = async () => undefined;
}

function bench<S>(make: () => VirtioModel<S>): VirtioBench<S> {
  return new VirtioBench<S>(make, new AddonRam(16 << 20));
}

/** RING requests of 4 KiB at a time: header, data, status. */
async function disk(type: number): Promise<number> {
  const b = bench(() => new VirtioBlk(new Disk(), 'bench'));
  const [queue] = b.up([9, F.EVENT_IDX], 1, 256).queues;
  b.vm.ram.writeU32(0x80000, type);
  const data = { gpa: 0x100000, length: 4096, write: type === 0 };
  const start = performance.now();
  for (let i = 0; i < ROUNDS; i++) {
    for (let n = 0; n < RING; n++)
      queue.add([{ gpa: 0x80000, length: 16 }, data, { gpa: 0x80040, length: 1, write: true }]);
    queue.kick();
    while (b.device.model.inFlight > 0) await Promise.resolve();
    queue.take();
    b.host.advance(0);
  }
  return (performance.now() - start) / ROUNDS / RING;
}

function transmit(): number {
  const net = new TestNet();
  net.send = () => true;
  const b = bench(() => new VirtioNet(net.netdev, Uint8Array.of(2, 0, 0, 0, 0, 1)));
  const [, queue] = b.up([F.EVENT_IDX, 15], 3, 256).queues;
  const start = performance.now();
  for (let i = 0; i < ROUNDS; i++) {
    for (let n = 0; n < RING; n++)
      queue.add([
        { gpa: 0x80000, length: 12 },
        { gpa: 0x100000, length: 1500 },
      ]);
    queue.kick();
    queue.take();
    b.host.advance(0);
  }
  return (performance.now() - start) / ROUNDS / RING;
}

function receive(): number {
  const net = new TestNet();
  const b = bench(() => new VirtioNet(net.netdev, Uint8Array.of(2, 0, 0, 0, 0, 1)));
  const [queue] = b.up([F.EVENT_IDX, 15], 3, 256).queues;
  const frame = Buffer.alloc(1500, 2);
  const start = performance.now();
  for (let i = 0; i < ROUNDS; i++) {
    for (let n = 0; n < RING; n++) queue.add([{ gpa: 0x100000, length: 2048, write: true }]);
    for (let n = 0; n < RING; n++) net.nic!.receive(frame);
    queue.take();
    b.host.advance(0);
  }
  return (performance.now() - start) / ROUNDS / RING;
}

const result = {
  diskWrite4kUs: round((await disk(1)) * 1000),
  diskRead4kUs: round((await disk(0)) * 1000),
  transmit1500Us: round(transmit() * 1000),
  receive1500Us: round(receive() * 1000),
};
console.log(JSON.stringify(result));
