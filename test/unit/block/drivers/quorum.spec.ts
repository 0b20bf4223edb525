/**
 * Goal: fifo and voting quorums over plain children: who answers, who is reported, what the guest
 * is told. Method: three files, faults by name.
 */
import { Events } from '../../../../src/base/events.js';
import { BlockLayer } from '../../../../src/block/layer/layer.js';
import { parseDrive } from '../../../../src/block/options/options.js';
import type { QmpEvents } from '../../../../src/qapi/types.js';
import { expectSame, pattern, testHost } from '../../../support/block-host.js';

async function setUp(pattern_: 'fifo' | 'quorum', threshold: number, count: number, more = '') {
  const host = testHost();
  const events = new Events<QmpEvents>();
  const layer = new BlockLayer(host, events);
  const children = Array.from({ length: count }, (_, n) => {
    host.files.put(`/${n}`, pattern(4096));
    return (
      `children.${n}.driver=raw,children.${n}.file.filename=/${n},` +
      `children.${n}.node-name=n${n}`
    );
  });
  await layer.addDrive(
    parseDrive(
      `id=q,driver=quorum,read-pattern=${pattern_},vote-threshold=${threshold},` +
        `${children.join(',')}${more}`,
    ),
  );
  const seen: string[] = [];
  events.on('QUORUM_REPORT_BAD', e =>
    seen.push(`bad ${e.type} ${e['node-name']} ${e['sector-num']}+${e['sectors-count']}`),
  );
  events.on('QUORUM_FAILURE', e =>
    seen.push(`failure ${e.reference} ${e['sector-num']}+${e['sectors-count']}`),
  );
  const broken = new Set<string>();
  host.files.fault = (operation, path) => {
    if (broken.has(`${operation} ${path}`)) throw new Error(`${operation} of ${path} is broken`);
  };
  return { host, guest: layer.claim('q', 'disk0'), seen, broken, layer };
}

test('fifo: child 0 answers reads, then child 1', async () => {
  const { guest, host, seen, broken } = await setUp('fifo', 1, 2);
  host.files.bytes('/1').fill(9);
  expectSame(await guest.pread(512, 512), pattern(4096).subarray(512, 1024));
  broken.add('pread /0');
  expectSame(await guest.pread(512, 512), Buffer.alloc(512, 9));
  expect(seen).toEqual(['bad read n0 1+1']);
  broken.add('pread /1');
  await expect(guest.pread(0, 512)).rejects.toThrow('pread of /0 is broken');
  expect(seen.slice(1)).toEqual(['bad read n0 0+1', 'bad read n1 0+1', 'failure q 0+1']);
});

test.each(['fifo', 'quorum'] as const)(
  '%s: a range is zeroes when every child that a read asks says so',
  async read => {
    const { layer } = await setUp(read, 1, 2, ',node-name=top');
    const node = (name: string) => layer.graph.node(name);
    for (const [name, hole] of [
      ['n0', 2048],
      ['n1', 1024],
    ] as const) {
      node(name).blockStatus = async (offset, length) => ({
        length: offset < hole ? hole - offset : length,
        allocated: true,
        zero: offset < hole,
      });
    }
    const status = (offset: number) => node('top').blockStatus(offset, 4096 - offset);
    const first = read === 'fifo' ? 2048 : 1024;
    expect(await status(0)).toEqual({ length: first, allocated: true, zero: true });
    expect(await status(first)).toMatchObject({ zero: false });
    node('n0').blockStatus = () => Promise.reject(new Error('broken'));
    expect(await status(0)).toMatchObject({ zero: false });
  },
);

test('fifo: the result of a write is that of child 0', async () => {
  const { guest, seen, broken } = await setUp('fifo', 1, 2);
  broken.add('pwrite /1');
  await guest.pwrite(0, pattern(512, 2));
  broken.add('pwrite /0');
  await expect(guest.pwrite(0, pattern(512, 2))).rejects.toThrow('pwrite of /0 is broken');
  broken.add('fdatasync /1');
  await guest.flush();
  expect(seen).toEqual([
    'bad write n1 0+1',
    'bad write n0 0+1',
    'bad write n1 0+1',
    'bad flush n1 0+0',
  ]);
});

test('voting: the majority answers, the loser is reported, no majority is an error', async () => {
  const { guest, host, seen } = await setUp('quorum', 2, 3);
  host.files.bytes('/0').fill(7);
  expectSame(await guest.pread(0, 4096), pattern(4096));
  expect(seen).toEqual(['bad read n0 0+8']);
  host.files.bytes('/1').fill(8);
  await expect(guest.pread(0, 4096)).rejects.toThrow(
    "quorum 'q': the children disagree at offset 0",
  );
  expect(seen[1]).toBe('failure q 0+8');
});

test('voting: a write needs the threshold', async () => {
  const { guest, seen, broken } = await setUp('quorum', 2, 3);
  broken.add('pwrite /0');
  await guest.pwrite(0, pattern(512, 2));
  broken.add('pwrite /1');
  await expect(guest.pwrite(0, pattern(512, 2))).rejects.toThrow('is broken');
  expect(seen.at(-1)).toBe('failure q 0+1');
});

test('a discard is zeroes on every child, holes or not', async () => {
  const { guest, host, broken } = await setUp('fifo', 1, 2);
  broken.add('punchHole /1');
  await guest.discard(1024, 1024);
  for (const file of ['/0', '/1'])
    expectSame(host.files.bytes(file).subarray(1024, 2048), Buffer.alloc(1024));
});

test('bad quorums are refused', async () => {
  await expect(setUp('fifo', 3, 2)).rejects.toThrow(
    "quorum 'q': vote-threshold 3 is more than its voting children, 2",
  );
});

test('blkverify: every read compares, the error says where', async () => {
  const { guest, host, seen, layer } = await setUp('quorum', 2, 2, ',blkverify=on');
  await guest.pwrite(1024, pattern(1024, 4));
  expectSame(await guest.pread(1024, 1024), pattern(1024, 4));
  host.files.bytes('/1')[1033] ^= 1;
  expectSame(await guest.pread(0, 1024), pattern(4096).subarray(0, 1024));
  await expect(guest.pread(1024, 512)).rejects.toThrow('contents mismatch at offset 1033');
  expect(seen).toEqual(['failure q 2+1']);
  await expect(layer.blockdevChange({ parent: 'q', child: 'children.1' })).rejects.toThrow(
    'blkverify=on',
  );
});

test(
  'rewrite-corrupted: who was outvoted gets what the majority has; whom it cannot be given to ' +
    'is reported',
  async () => {
    const { guest, host, seen, broken } = await setUp('quorum', 2, 3, ',rewrite-corrupted=on');
    host.files.bytes('/0').fill(7, 512, 1024);
    expectSame(await guest.pread(0, 4096), pattern(4096));
    expectSame(host.files.bytes('/0'), pattern(4096));
    await guest.pread(0, 4096);
    expect(seen).toEqual(['bad read n0 0+8']);
    host.files.bytes('/2').fill(7, 512, 1024);
    broken.add('pwrite /2');
    expectSame(await guest.pread(512, 512), pattern(4096).subarray(512, 1024));
    expect(seen.slice(1)).toEqual(['bad read n2 1+1', 'bad write n2 1+1']);
  },
);

test('voting while the same range is written: the children never disagree', async () => {
  const { guest, host, seen } = await setUp('quorum', 2, 2);
  let n = 0;
  host.files.delay = async () => {
    for (let turn = n++ % 5; turn > 0; turn--) await new Promise(resolve => setImmediate(resolve));
  };
  await Promise.all(
    Array.from({ length: 40 }, (_, i) =>
      i % 2 === 0 ? guest.pwrite(512 * (i % 3), pattern(1024, i)) : guest.pread(0, 4096),
    ),
  );
  expect(seen).toEqual([]);
});

test('children come and go while the quorum runs; the lowest free name is taken', async () => {
  const { guest, host, layer } = await setUp('quorum', 1, 2);
  host.files.put('/new', pattern(4096));
  await layer.blockdevAdd({
    driver: 'raw',
    'node-name': 'late',
    file: { driver: 'file', filename: '/new' },
  });
  const busy = Array.from({ length: 20 }, (_, i) => guest.pwrite((i % 4) * 1024, pattern(1024, i)));
  expect(await layer.blockdevChange({ parent: 'q', child: 'children.0' })).toBe('children.0');
  await Promise.all(busy);
  host.files.bytes('/1').copy(host.files.bytes('/new'));
  expect(await layer.blockdevChange({ parent: 'q', node: 'late' })).toBe('children.0');
  await guest.pwrite(0, pattern(4096, 9));
  for (const file of ['/1', '/new']) expectSame(host.files.bytes(file), pattern(4096, 9));
  await expect(layer.blockdevChange({ parent: 'q', node: 'late' })).rejects.toThrow(
    "node 'late' is in use already, by node",
  );
});

test.each([
  ['fifo', 2, 3, ',blkverify=on', 'blkverify=on can only be set if there are exactly two files'],
  ['quorum', 1, 2, ',blkverify=on', 'vote-threshold is 2'],
  [
    'quorum',
    2,
    2,
    ',blkverify=on,rewrite-corrupted=on',
    'rewrite-corrupted=on cannot be used with blkverify=on',
  ],
] as const)('refused: %s %i of %i%s', (pattern_, threshold, count, more, message) =>
  expect(setUp(pattern_, threshold, count, more)).rejects.toThrow(message),
);

test('of several errors the guest gets the most common one', async () => {
  const { guest, host } = await setUp('quorum', 2, 3);
  host.files.fault = (operation, path) => {
    if (operation === 'pwrite')
      throw Object.assign(new Error(`of ${path}`), { code: path === '/0' ? 'EPERM' : 'ENOSPC' });
  };
  await expect(guest.pwrite(0, pattern(512, 2))).rejects.toThrow('of /1');
});
