/**
 * Goal: after a failover the switch is told, in rounds, on every netdev. Method: the real Network
 * over a tap that keeps its frames, in simulated time.
 */
import { defaultLimits } from '../../../src/vm/host.js';
import { Network } from '../../../src/vm/network.js';
import type { Programs, Sockets, Tap } from '../../../src/host/ports.js';
import { SimNode } from '../../support/sim/node.js';
import { World } from '../../support/sim/world.js';

const mac = Uint8Array.from([0x52, 0x54, 0, 0x12, 0x34, 0x56]);
const rarp = 0x8035;

it('announces the guest in five rounds, and in none while its output is held', async () => {
  const world = new World(1);
  const frames: Buffer[] = [];
  const tap: Tap = {
    ifname: 'tap0',
    onFrame: () => undefined,
    write: f => frames.push(Buffer.from(f)) > 0,
    pause: () => undefined,
    resume: () => undefined,
    dispose: () => undefined,
  };
  const network = await Network.create(
    { netdevs: [{ type: 'tap', id: 'hn0', script: 'no', downscript: 'no' }] },
    {
      clock: new SimNode('n', world).clock,
      taps: { open: () => tap },
      sockets: {} as Sockets,
      programs: {} as Programs,
      limits: defaultLimits,
      note: () => undefined,
    },
  );
  let guestAnnounced = 0;
  const netdev = network.claim('hn0', 'the test');
  netdev.attachNic({ mac, receive: () => true, announce: () => void guestAnnounced++ });
  netdev.outputHold.hold(() => false);
  network.announce();
  await world.run(5000);
  expect(frames).toEqual([]);
  expect(guestAnnounced).toBe(0);

  netdev.outputHold.releaseAll();
  network.announce();
  expect(frames).toHaveLength(1);
  await world.run(10_000);
  expect(frames.map(f => f.readUInt16BE(12))).toEqual(Array(5).fill(rarp));
  expect(frames.every(f => f.subarray(6, 12).equals(mac))).toBe(true);
  expect(guestAnnounced).toBe(5);
  network.close();
});
