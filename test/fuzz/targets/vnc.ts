/** A viewer that says anything, beside one that behaves: nothing throws, and that one is served. */
import { Events } from '../../../src/base/events.js';
import { newSurface } from '../../../src/hw/display/surface.js';
import { InputRouter } from '../../../src/hw/input/router.js';
import type { QmpEvents } from '../../../src/qapi/types.js';
import { VncServer } from '../../../src/vnc/server.js';
import { LoopSockets } from '../../support/block-host.js';
import { settle } from '../../support/device-bench.js';
import type { Random } from '../../support/random.js';
import { RfbClient } from '../../support/rfb-client.js';
import type { FuzzTarget } from '../target.js';

const ADDRESS = { kind: 'tcp', host: 'h', port: 5900 } as const;
const clock = { nowMs: () => 0, bootMs: () => 0, wallMs: () => 0 };

/** Messages with their lengths right, or nearly. */
function message(random: Random): Buffer {
  const bytes = Buffer.from(Array.from({ length: 20 }, () => random.below(256)));
  bytes[0] = [0, 2, 3, 4, 5, 6, 255][random.below(7)];
  const lengths: Record<number, number> = { 0: 20, 3: 10, 4: 8, 5: 6, 6: 8, 255: 12 };
  if (bytes[0] === 2) bytes.writeUInt16BE(random.below(5), 2);
  if (bytes[0] === 6) bytes.writeUInt32BE(random.below(12), 4);
  if (bytes[0] === 255) bytes[1] = random.below(2);
  if (bytes[0] === 0 && random.below(2) === 0)
    bytes.set([32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0], 4);
  const length = bytes[0] === 2 ? 4 + 4 * bytes.readUInt16BE(2) : lengths[bytes[0]];
  return bytes.subarray(0, Math.min(20, random.below(20) === 0 ? random.below(20) : length));
}

export const vncTarget: FuzzTarget = {
  name: 'vnc',
  summary: 'a viewer that says anything: the server goes on, and serves another viewer',
  async run(random) {
    const sockets = new LoopSockets(data => {
      const at = random.below(data.length + 1);
      return [data.subarray(0, at), data.subarray(at)].filter(part => part.length > 0);
    });
    const timers = new Set<() => void>();
    const timer = (_ms: number, fn: () => void) => {
      timers.add(fn);
      return { dispose: () => void timers.delete(fn) };
    };
    const surface = newSurface(1 + random.below(100), 1 + random.below(100));
    const server = new VncServer(
      { host: 'h', display: 0, password: random.below(4) === 0 },
      {
        clock: { ...clock, timer },
        sockets,
        entropy: { fill: bytes => bytes.fill(7) },
        events: new Events<QmpEvents>(),
        name: 'fuzzed',
        input: new InputRouter({ running: true }, { ...clock, timer }),
        display: { paint: () => ({ surface, changed: [{ x: 0, y: 0, width: 1, height: 1 }] }) },
        tls: undefined,
        takesInput: () => true,
        note: () => undefined,
      },
    );
    if (server.spec.password) server.setPassword('p');
    await server.listen();
    const bad = await sockets.connect(ADDRESS);
    bad.onData(() => undefined);
    bad.onEnd(() => undefined);
    const hello = server.spec.password ? 'RFB 003.008\n\x02' : 'RFB 003.008\n\x01\x01';
    const write = (bytes: Buffer) => bad.write(bytes).catch(() => undefined);
    await write(Buffer.from(random.below(8) === 0 ? hello.slice(random.below(12)) : hello));
    for (let n = random.below(30); n > 0; n--) await write(message(random));
    await settle();
    const good = new RfbClient(await sockets.connect(ADDRESS));
    await good.open({ password: 'p' });
    await good.request(false);
    const drawn = good.update();
    for (let n = 0; n < 5; n++) {
      await settle();
      // The last one made is not the handshake's limit.
      for (const fn of [...timers].slice(-1)) if (timers.delete(fn)) fn();
    }
    await drawn;
    server.dispose();
    await settle();
  },
};
