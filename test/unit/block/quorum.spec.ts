/** Goal: fifo and voting quorums over plain children: who answers, who is reported, what the guest is told. Method: three files, faults by name. */
import { Events } from '../../../src/base/events.js';
import { BlockLayer } from '../../../src/block/layer.js';
import { parseDrive } from '../../../src/block/options.js';
import type { QmpEvents } from '../../../src/qapi/types.js';
import { expectSame, pattern, testHost } from '../../support/block-host.js';

async function setUp(pattern_: 'fifo' | 'quorum', threshold: number, count: number) {
  const host = testHost();
  const events = new Events<QmpEvents>();
  const layer = new BlockLayer(host, events);
  const children = Array.from({ length: count }, (_, n) => {
    host.files.put(`/${n}`, pattern(4096));
    return `children.${n}.driver=raw,children.${n}.file.filename=/${n},children.${n}.node-name=n${n}`;
  });
  await layer.addDrive(parseDrive(`id=q,driver=quorum,read-pattern=${pattern_},vote-threshold=${threshold},${children.join(',')}`));
  const seen: string[] = [];
  events.on('QUORUM_REPORT_BAD', e => seen.push(`bad ${e.type} ${e['node-name']} ${e['sector-num']}+${e['sectors-count']}`));
  events.on('QUORUM_FAILURE', e => seen.push(`failure ${e.reference} ${e['sector-num']}+${e['sectors-count']}`));
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

test('fifo: the result of a write is that of child 0', async () => {
  const { guest, seen, broken } = await setUp('fifo', 1, 2);
  broken.add('pwrite /1');
  await guest.pwrite(0, pattern(512, 2));
  broken.add('pwrite /0');
  await expect(guest.pwrite(0, pattern(512, 2))).rejects.toThrow('pwrite of /0 is broken');
  broken.add('fdatasync /1');
  await guest.flush();
  expect(seen).toEqual(['bad write n1 0+1', 'bad write n0 0+1', 'bad write n1 0+1', 'bad flush n1 0+0']);
});

test('voting: the majority answers, the loser is reported, no majority is an error', async () => {
  const { guest, host, seen } = await setUp('quorum', 2, 3);
  host.files.bytes('/0').fill(7);
  expectSame(await guest.pread(0, 4096), pattern(4096));
  expect(seen).toEqual(['bad read n0 0+8']);
  host.files.bytes('/1').fill(8);
  await expect(guest.pread(0, 4096)).rejects.toThrow('the children disagree');
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
  for (const file of ['/0', '/1']) expectSame(host.files.bytes(file).subarray(1024, 2048), Buffer.alloc(1024));
});

test('bad quorums are refused', async () => {
  await expect(setUp('fifo', 3, 2)).rejects.toThrow("quorum 'q': vote-threshold 3 is more than its voting children, 2");
});
