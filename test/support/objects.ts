/**
 * Objects over a netdev whose two ends are lists, in simulated time, with chardevs and files that
 * remember.
 */
import { Inventory } from '../../src/base/inventory.js';
import { VmError } from '../../src/base/errors.js';
import type { CharBackend } from '../../src/chardev/contract.js';
import { FrameReader, onStream } from '../../src/net/packet/frame-stream.js';
import type { Tap } from '../../src/host/ports.js';
import { Objects } from '../../src/vm/objects/registry.js';
import { TapNetdev } from '../../src/net/netdev/tap.js';
import { SimNode } from './sim/node.js';
import { World } from './sim/world.js';
import { FakeChar } from './fake-char.js';

export function objectsFixture(chardevs: Record<string, CharBackend> = {}, files: object = {}) {
  const world = new World(1);
  const { clock } = new SimNode('n', world);
  const wire = { room: true, out: [] as Buffer[], frame: (_: Uint8Array) => undefined as void };
  const tap: Tap = {
    ifname: 'tap0',
    onFrame: fn => void (wire.frame = fn),
    write: f => wire.room && wire.out.push(Buffer.from(f)) > 0,
    pause: () => undefined,
    resume: () => undefined,
    dispose: () => undefined,
  };
  const netdev = new TapNetdev('hn0', tap, clock);
  const nic = { room: true, got: [] as Buffer[], roomCalls: 0 };
  netdev.attachNic({
    mac: Buffer.from('525400123456', 'hex'),
    receive: f => nic.room && nic.got.push(Buffer.from(f)) > 0,
    announce: () => undefined,
  });
  netdev.onRoom(() => void nic.roomCalls++);
  netdev.setRunning(true);
  const netdevs = new Inventory<TapNetdev>({
    kind: 'netdev',
    limit: 8,
    use: 'shared',
    duplicate: id => new VmError(id),
  });
  const chars = new Inventory<CharBackend>({
    kind: 'chardev',
    limit: 8,
    use: 'exclusive',
    duplicate: id => new VmError(id),
  });
  const notes: string[] = [];
  const objects = new Objects({
    host: { clock, files: files as never },
    netdev: (id, user) => netdevs.claim(id, user),
    chardev: (id, user) => chars.claim(id, user),
    note: line => void notes.push(line),
  });
  const ready = Promise.all([
    netdevs.add('hn0', () => netdev),
    ...Object.entries(chardevs).map(([id, chr]) => chars.add(id, () => chr)),
  ]);
  return { world, wire, nic, netdev, netdevs, chars, objects, notes, ready };
}

export const frame = (n: number, length = 60) => Buffer.alloc(length, n);
export const firsts = (frames: readonly Uint8Array[]) => frames.map(f => f[0]);

/** A channel whose peer takes frames apart. */
export class FrameChar extends FakeChar {
  frames: Buffer[] = [];
  private readonly reader = new FrameReader();

  override write(bytes: Uint8Array): boolean {
    if (!this.reading) return false;
    this.reader.push(bytes);
    for (let next = this.reader.next(); next; next = this.reader.next())
      this.frames.push(Buffer.from(next));
    return true;
  }

  send(...frames: Uint8Array[]): void {
    this.type(Buffer.concat(frames.map(onStream)));
  }
}

/** A file in memory that can be full, or slow. */
export function memoryFile(content = Buffer.alloc(0)) {
  const state = { content, full: false, closed: false, path: '/f' };
  const file = {
    path: '/f',
    readOnly: false,
    size: async () => state.content.length,
    pread: async (buffer: Uint8Array, offset: number) => state.content.copy(buffer, 0, offset),
    pwrite: async (bytes: Uint8Array, offset: number) => {
      if (state.full) {
        state.content = Buffer.concat([
          state.content.subarray(0, offset),
          bytes.subarray(0, bytes.length >> 1),
        ]);
        throw new VmError("Could not write '/f': No space left on device");
      }
      state.content = Buffer.concat([state.content.subarray(0, offset), bytes]);
    },
    truncate: async (size: number) => void (state.content = state.content.subarray(0, size)),
    close: async () => void (state.closed = true),
  };
  return { state, files: { open: async () => file } };
}
