/**
 * Goal: each filter does what its object says in both directions, nothing of the guest's output or
 * a copy of it gets out before its epoch, and no reader, disk or peer makes the guest wait without
 * bound. Method: objects over a netdev whose two ends are lists.
 */
import { firsts, frame, FrameChar, memoryFile, objectsFixture } from '../../support/objects.js';
import { settle } from '../../support/fake-char.js';
import {
  pcapHeader,
  pcapRecord,
  readPcapHeader,
  readPcapRecord,
} from '../../../src/net/packet/pcap.js';

const opened: { dispose(): void }[] = [];
afterEach(() => opened.splice(0).forEach(o => o.dispose()));

async function fixture(files: object = {}) {
  const [out, incoming] = [new FrameChar(), new FrameChar()];
  const all = objectsFixture({ out, in: incoming }, files);
  await all.ready;
  opened.push(all.objects);
  out.connect();
  incoming.connect();
  return {
    ...all,
    out,
    in: incoming,
    add: (text: string) => all.objects.objectAddText(text),
    pass: (ms: number) => all.world.run(all.world.now + ms),
  };
}

describe('filter-buffer', () => {
  test('packets wait in both directions, and leave at the interval', async () => {
    const { pass, wire, nic, netdev, add } = await fixture();
    await add('filter-buffer,id=b0,netdev=hn0,interval=20000');
    netdev.send(frame(1));
    wire.frame(frame(2));
    netdev.send(frame(3));
    expect([wire.out, nic.got]).toEqual([[], []]);
    await pass(19);
    expect(wire.out).toEqual([]);
    await pass(1);
    expect([firsts(wire.out), firsts(nic.got)]).toEqual([[1, 3], [2]]);
  });

  test('is full at its bound, and the nic hears when it is not any more', async () => {
    const { pass, wire, nic, netdev, add } = await fixture();
    await add('filter-buffer,id=b0,netdev=hn0,interval=1000,queue=rx');
    let taken = 0;
    while (netdev.send(frame(1)) && taken < 100_000) taken++;
    expect([taken, nic.roomCalls]).toEqual([4096, 0]);
    await pass(1);
    expect([wire.out.length, nic.roomCalls]).toEqual([4096, 1]);
    let bytes = 0;
    for (; netdev.send(frame(1, 60_000)) && bytes < 100 << 20;) bytes += 60_000;
    expect(bytes).toBeLessThanOrEqual(16 << 20);
  });

  test('off: what waits leaves, the next goes past; deleted: the same', async () => {
    const { wire, netdev, objects, add } = await fixture();
    await add('filter-buffer,id=b0,netdev=hn0,interval=1000000');
    netdev.send(frame(1));
    objects.set('b0', 'status', 'off');
    netdev.send(frame(2));
    expect(firsts(wire.out)).toEqual([1, 2]);
    objects.set('b0', 'status', 'on');
    netdev.send(frame(3));
    expect(firsts(wire.out)).toEqual([1, 2]);
    objects.objectDel('b0');
    netdev.send(frame(4));
    expect(firsts(wire.out)).toEqual([1, 2, 3, 4]);
  });

  test('a guest without buffers keeps it waiting, in order', async () => {
    const { pass, wire, nic, netdev, add } = await fixture();
    await add('filter-buffer,id=b0,netdev=hn0,interval=1000,queue=tx');
    nic.room = false;
    wire.frame(frame(1));
    await pass(5);
    wire.frame(frame(2));
    nic.room = true;
    netdev.nicReady();
    expect(firsts(nic.got)).toEqual([1]);
    await pass(5);
    expect(firsts(nic.got)).toEqual([1, 2]);
  });
});

describe('filter-mirror', () => {
  test('copies the direction of its queue, and every frame is passed on', async () => {
    const { wire, nic, netdev, out, add } = await fixture();
    await add('filter-mirror,id=m0,netdev=hn0,queue=rx,outdev=out');
    netdev.send(frame(1));
    wire.frame(frame(2));
    expect([firsts(out.frames), firsts(wire.out), firsts(nic.got)]).toEqual([[1], [1], [2]]);
  });

  test('a reader that stalls, or none, costs copies and nothing else', async () => {
    const { wire, netdev, objects, out, add } = await fixture();
    await add('filter-mirror,id=m0,netdev=hn0,outdev=out');
    out.reading = false;
    for (let n = 0; n < 10_000; n++) expect(netdev.send(frame(n % 256))).toBe(true);
    out.disconnect();
    out.reading = true;
    netdev.send(frame(1));
    expect([
      wire.out.length,
      out.frames.length,
      objects.get('m0', 'dropped'),
      objects.get('m0', 'sent'),
    ]).toEqual([10_001, 0, 10_001, 0]);
    out.connect();
    netdev.send(frame(7));
    expect([firsts(out.frames), objects.get('m0', 'sent')]).toEqual([[7], 1]);
  });

  test('in COLO a copy leaves with its epoch, and only while the gate is open', async () => {
    const { netdev, wire, out, add } = await fixture();
    await add('filter-mirror,id=m0,netdev=hn0,outdev=out');
    let open = true;
    netdev.outputHold.hold(() => open);
    netdev.send(frame(1));
    netdev.outputHold.cut(1);
    netdev.send(frame(2));
    wire.frame(frame(9));
    expect([firsts(out.frames), wire.out]).toEqual([[9], []]);
    open = false;
    netdev.outputHold.release(1);
    expect(firsts(out.frames)).toEqual([9]);
    open = true;
    netdev.outputHold.release(1);
    expect([firsts(out.frames), firsts(wire.out)]).toEqual([[9, 1], [1]]);
    netdev.outputHold.drop();
    expect(firsts(out.frames)).toEqual([9, 1]);
  });

  test('a frame that is refused further on and comes again is copied once', async () => {
    const { pass, netdev, wire, nic, out, add } = await fixture();
    await add('filter-mirror,id=m0,netdev=hn0,outdev=out');
    wire.room = false;
    expect(netdev.send(frame(1))).toBe(false);
    wire.room = true;
    await pass(10);
    expect(netdev.send(frame(1))).toBe(true);
    expect(firsts(out.frames)).toEqual([1]);
    nic.room = false;
    wire.frame(frame(2));
    nic.room = true;
    netdev.nicReady();
    expect(firsts(out.frames)).toEqual([1, 2]);
  });

  test('a chardev has one user, and is free again with the filter', async () => {
    const { chars, objects, add } = await fixture();
    await add('filter-mirror,id=m0,netdev=hn0,outdev=out');
    await expect(add('filter-mirror,id=m1,netdev=hn0,outdev=out')).rejects.toThrow(
      "Device 'out' is in use",
    );
    await expect(add('filter-mirror,id=m1,netdev=hn0,outdev=nope')).rejects.toThrow(
      "Device 'nope' not found",
    );
    await expect(add('filter-mirror,id=m1,netdev=hn0,outdev=in,position=id=zz')).rejects.toThrow(
      "filter 'zz' not found",
    );
    expect(() => chars.take('out')).toThrow("chardev 'out' is in use by filter-mirror 'm0'");
    expect(chars.usersOf('in')).toEqual([]);
    objects.objectDel('m0');
    await add('filter-mirror,id=m1,netdev=hn0,outdev=out,vnet_hdr_support=off');
    await expect(
      add('filter-mirror,id=m2,netdev=hn0,outdev=in,vnet_hdr_support=on'),
    ).rejects.toThrow('vnet_hdr_support=on is not supported');
  });
});

describe('filter-redirector', () => {
  test.each([
    ['', "filter redirector needs 'indev' or 'outdev' at least one property set"],
    [',indev=in,outdev=in', "'indev' and 'outdev' could not be same for filter redirector"],
  ])('%s', async (options, message) => {
    const { add } = await fixture();
    await expect(add(`filter-redirector,id=r0,netdev=hn0${options}`)).rejects.toThrow(message);
  });

  test('frames leave to outdev instead of going on; in COLO with their epoch', async () => {
    const { netdev, wire, nic, out, add } = await fixture();
    await add('filter-redirector,id=r0,netdev=hn0,queue=rx,outdev=out');
    netdev.send(frame(1));
    wire.frame(frame(2));
    expect([firsts(out.frames), wire.out, firsts(nic.got)]).toEqual([[1], [], [2]]);
    netdev.outputHold.hold(() => true);
    netdev.send(frame(3));
    netdev.outputHold.cut(1);
    expect(firsts(out.frames)).toEqual([1]);
    netdev.outputHold.release(1);
    expect([firsts(out.frames), wire.out]).toEqual([[1, 3], []]);
  });

  test.each([
    ['tx', [[5, 6], []]],
    ['rx', [[], [5, 6]]],
    [
      'all',
      [
        [5, 6],
        [5, 6],
      ],
    ],
  ])('what indev sends goes on: %s', async (queue, expected) => {
    const { wire, nic, in: indev, objects, add } = await fixture();
    await add(`filter-redirector,id=r0,netdev=hn0,queue=${queue},indev=in`);
    indev.send(frame(5), Buffer.alloc(3), frame(6));
    expect([firsts(nic.got), firsts(wire.out)]).toEqual(expected);
    expect(objects.get('r0', 'received')).toBe(3);
  });

  test('toward the world it waits in the hold', async () => {
    const { netdev, wire, in: indev, add } = await fixture();
    await add('filter-redirector,id=r0,netdev=hn0,queue=rx,indev=in,position=head');
    netdev.outputHold.hold(() => true);
    indev.send(frame(5));
    expect(wire.out).toEqual([]);
    netdev.outputHold.cut(1);
    netdev.outputHold.release(1);
    expect(firsts(wire.out)).toEqual([5]);
  });

  test('a guest without buffers: indev waits, and nothing is lost or kept without bound', async () => {
    const { netdev, nic, in: indev, add } = await fixture();
    await add('filter-redirector,id=r0,netdev=hn0,queue=tx,indev=in');
    nic.room = false;
    indev.send(frame(1), frame(2), frame(3));
    expect([nic.got, indev.paused]).toEqual([[], true]);
    nic.room = true;
    netdev.nicReady();
    expect([firsts(nic.got), indev.paused]).toEqual([[1, 2, 3], false]);
  });

  test('a stream that makes no sense ends with its peer; the next one begins anew', async () => {
    const { nic, in: indev, notes, add } = await fixture();
    await add('filter-redirector,id=r0,netdev=hn0,queue=tx,indev=in');
    indev.type(Buffer.from('ffffffff', 'hex'));
    expect([indev.hungUp, notes]).toEqual([
      1,
      [
        'filter-redirector r0: fake: a frame of 4294967295 bytes was announced; the longest ' +
          'has 69632',
      ],
    ]);
    indev.disconnect();
    indev.connect();
    indev.type(Buffer.from('000000', 'hex'));
    indev.disconnect();
    indev.connect();
    indev.send(frame(4));
    expect(firsts(nic.got)).toEqual([4]);
  });

  test('off: nothing comes in or goes out that way', async () => {
    const { netdev, nic, wire, out, in: indev, objects, add } = await fixture();
    await add('filter-redirector,id=r0,netdev=hn0,indev=in,outdev=out,status=off');
    netdev.send(frame(1));
    expect([indev.paused, firsts(wire.out), out.frames]).toEqual([true, [1], []]);
    indev.send(frame(8));
    expect(nic.got).toEqual([]);
    objects.set('r0', 'status', 'on');
    expect([indev.paused, firsts(nic.got)]).toEqual([false, [8]]);
  });
});

describe('filter-dump', () => {
  const records = (content: Buffer) => {
    const format = readPcapHeader(content);
    const found: { captured: number; first: number; ms: number }[] = [];
    for (let at = 24; at < content.length;) {
      const { captured, ms } = readPcapRecord(content.subarray(at), format);
      found.push({ captured, first: content[at + 16], ms });
      at += 16 + captured;
    }
    return found;
  };

  test('both directions, cut to maxlen, in a file that is closed at the end', async () => {
    const { state, files } = memoryFile(Buffer.from('what was there'));
    const { netdev, wire, objects, add } = await fixture(files);
    await add('filter-dump,id=d0,netdev=hn0,file=/f,maxlen=100');
    netdev.outputHold.hold(() => true);
    netdev.send(frame(1, 500));
    wire.frame(frame(2, 60));
    objects.objectDel('d0');
    await settle();
    expect(records(state.content).map(r => [r.first, r.captured])).toEqual([
      [1, 100],
      [2, 60],
    ]);
    expect([state.closed, wire.out]).toEqual([true, []]);
  });

  test(
    'a full disk: packets are counted, one line is said, the file stays whole and goes on when ' +
      'there is room',
    async () => {
      const { state, files } = memoryFile();
      const { netdev, objects, notes, wire, add } = await fixture(files);
      await add('filter-dump,id=d0,netdev=hn0,file=/f');
      netdev.send(frame(1));
      await settle();
      state.full = true;
      for (const n of [2, 3, 4]) {
        netdev.send(frame(n));
        await settle();
      }
      state.full = false;
      netdev.send(frame(5));
      await settle();
      expect(records(state.content).map(r => r.first)).toEqual([1, 5]);
      expect([
        objects.get('d0', 'written'),
        objects.get('d0', 'dropped'),
        notes.length,
        wire.out.length,
      ]).toEqual([2, 3, 1, 5]);
    },
  );

  test('a disk that stands still: no more than 4 MiB wait', async () => {
    const { state, files } = memoryFile();
    let release: () => void = () => undefined;
    const { netdev, objects, add } = await fixture({
      open: async () => ({
        ...(await files.open()),
        truncate: async () => undefined,
        pwrite: () =>
          state.content.length === 0
            ? ((state.content = Buffer.alloc(24)), Promise.resolve())
            : new Promise<void>(r => (release = r)),
      }),
    });
    await add('filter-dump,id=d0,netdev=hn0,file=/f');
    for (let n = 0; n < 200; n++) expect(netdev.send(frame(1, 60_000))).toBe(true);
    expect(objects.get('d0', 'dropped')).toBeGreaterThan(120);
    release();
  });

  test('a machine that ends waits for what is still to be written', async () => {
    const { state, files } = memoryFile();
    let release: () => void = () => undefined;
    const slow = async (bytes: Uint8Array, offset: number) => {
      if (offset > 0) await new Promise<void>(r => (release = r));
      await (await files.open()).pwrite(bytes, offset);
    };
    const { netdev, objects, add } = await fixture({
      open: async () => ({ ...(await files.open()), pwrite: slow }),
    });
    await add('filter-dump,id=d0,netdev=hn0,file=/f');
    netdev.send(frame(1));
    let done = false;
    const closing = objects.close().then(() => (done = true));
    await settle();
    expect([done, state.closed]).toEqual([false, false]);
    release();
    await closing;
    expect([records(state.content).length, state.closed]).toEqual([1, true]);
  });

  test('a file that cannot be opened is named, and nothing is left', async () => {
    const { netdevs, add } = await fixture({
      open: () => Promise.reject(new Error("Could not open '/nope/x': No such file or directory")),
    });
    await expect(add('filter-dump,id=d0,netdev=hn0,file=/nope/x')).rejects.toThrow(
      "Could not open '/nope/x'",
    );
    await expect(add('filter-dump,id=d0,netdev=hn0,file=/f,maxlen=0')).rejects.toThrow(
      "Parameter 'maxlen' expects an integer from 1",
    );
    await expect(add('filter-dump,id=d0,netdev=hn0')).rejects.toThrow(
      "Parameter 'file' is missing",
    );
    expect(netdevs.usersOf('hn0')).toEqual([]);
  });
});

describe('filter-replay', () => {
  const capture = (...packets: [ms: number, n: number][]) =>
    Buffer.concat([
      pcapHeader(65_536),
      ...packets.map(([ms, n]) => pcapRecord(frame(n), ms, 65_536)),
    ]);

  test('plays with the pauses of the recording, then is done', async () => {
    const { files, state } = memoryFile(capture([5_000, 1], [5_030, 2], [5_030, 3]));
    const { pass, nic, wire, netdev, objects, add } = await fixture(files);
    await add('filter-replay,id=p0,netdev=hn0,file=/f');
    await pass(29);
    expect(firsts(nic.got)).toEqual([1]);
    await pass(50);
    expect([firsts(nic.got), wire.out, objects.get('p0', 'replayed')]).toEqual([[1, 2, 3], [], 3]);
    expect(netdev.filters.info()).toMatchObject([{ properties: { done: 'yes' } }]);
    objects.objectDel('p0');
    await settle();
    expect(state.closed).toBe(true);
  });

  test('waits for a guest without buffers, and stands still while off', async () => {
    const { files } = memoryFile(capture([0, 1], [10, 2], [20, 3]));
    const { pass, nic, netdev, objects, add } = await fixture(files);
    nic.room = false;
    await add('filter-replay,id=p0,netdev=hn0,file=/f');
    await pass(100);
    expect(nic.got).toEqual([]);
    nic.room = true;
    netdev.nicReady();
    expect(firsts(nic.got)).toEqual([1]);
    objects.set('p0', 'status', 'off');
    await pass(100);
    expect(firsts(nic.got)).toEqual([1]);
    objects.set('p0', 'status', 'on');
    await pass(100);
    expect(firsts(nic.got)).toEqual([1, 2, 3]);
  });

  test('toward the world it waits in the hold', async () => {
    const { files } = memoryFile(capture([0, 1]));
    const { pass, wire, netdev, add } = await fixture(files);
    netdev.outputHold.hold(() => true);
    await add('filter-replay,id=p0,netdev=hn0,queue=rx,file=/f,position=head');
    await pass(100);
    expect(wire.out).toEqual([]);
    netdev.outputHold.cut(1);
    netdev.outputHold.release(1);
    expect(firsts(wire.out)).toEqual([1]);
  });

  test.each([
    [Buffer.from('short'), 'it is too short for a pcap file'],
    [Buffer.alloc(24), 'it is not a pcap file'],
    [
      Buffer.concat([capture().subarray(0, 20), Buffer.from([101, 0, 0, 0])]),
      'its packets are no Ethernet frames',
    ],
  ])('a file that is none is refused', async (content, message) => {
    const { state, files } = memoryFile(content);
    const { add } = await fixture(files);
    await expect(add('filter-replay,id=p0,netdev=hn0,file=/f')).rejects.toThrow(
      `filter-replay: /f: ${message}`,
    );
    expect(state.closed).toBe(true);
  });

  test('a record that lies ends the replay with a line', async () => {
    const lying = capture([0, 1], [0, 2]);
    lying.writeUInt32LE(0x7fffffff, 24 + 16 + 60 + 8);
    const { files } = memoryFile(lying);
    const { pass, nic, notes, add } = await fixture(files);
    await add('filter-replay,id=p0,netdev=hn0,file=/f');
    await pass(10);
    expect([firsts(nic.got), notes]).toEqual([
      [1],
      [expect.stringContaining('the record at offset 100 has 2147483647 bytes')],
    ]);
  });
});
