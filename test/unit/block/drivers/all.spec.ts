/**
 * Goal: whatever every driver of a node must do, for all of them; a new one that is not here fails.
 * Method: one node of each, made from options over simulated files and an NBD server of this
 * process.
 */
import type { BlockNode } from '../../../../src/block/contract/node.js';
import { defaultCreateOptions } from '../../../../src/block/drivers/qcow2/create.js';
import { createImage } from '../../../../src/block/image/open.js';
import { BlockLayer } from '../../../../src/block/layer/layer.js';
import { blockDrivers } from '../../../../src/block/options/options.js';
import { expectSame, pattern, testHost } from '../../../support/block-host.js';
import { KiB, startedPair } from '../../../support/block-pair.js';

const SIZE = 256 * KiB;
const file = (name: string) => ({ driver: 'file', filename: `/${name}.img` });

/** By driver, one or several nodes of it as blockdev-add has them. */
const options: Readonly<Record<string, Record<string, unknown>>> = {
  file: file('raw'),
  raw: { driver: 'raw', file: file('raw') },
  qcow2: { driver: 'qcow2', file: file('qcow2') },
  memory: { driver: 'memory', size: SIZE },
  nbd: { driver: 'nbd', server: { type: 'inet', host: '10.0.0.2', port: '10809' }, export: 'x' },
  blkdebug: { driver: 'blkdebug', image: file('raw') },
  quorum: { driver: 'quorum', 'vote-threshold': 2, children: [file('raw'), file('other')] },
};

async function open(driver: string): Promise<BlockNode> {
  const host = testHost();
  for (const name of ['raw', 'other', 'served']) host.files.put(`/${name}.img`, Buffer.alloc(SIZE));
  const image = { ...defaultCreateOptions, size: SIZE };
  await createImage(host, '/qcow2.img', 'qcow2', image);
  const server = new BlockLayer(host);
  await server.blockdevAdd({ 'node-name': 'served', ...file('served') });
  await server.nbdServerStart({ kind: 'tcp', host: '10.0.0.2', port: 10809 });
  server.nbdServerAdd({ device: 'served', writable: true, name: 'x' });
  const layer = new BlockLayer(host);
  await layer.blockdevAdd({ 'node-name': 'n', ...options[driver] });
  return layer.graph.node('n');
}

/** Both modes of a replication, in a pair that runs. */
async function replicating(mode: 'primary' | 'secondary'): Promise<BlockNode> {
  const pair = await startedPair({ image: Buffer.alloc(SIZE) });
  return mode === 'primary'
    ? pair.primary.graph.node('node0')
    : pair.secondary.backend('active-disk0').node;
}

const cases: readonly [string, () => Promise<BlockNode>][] = [
  ...Object.keys(options).map(driver => [driver, () => open(driver)] as const),
  ['replication, primary', () => replicating('primary')],
  ['replication, secondary', () => replicating('secondary')],
].map(([name, make]) => [name, make] as [string, () => Promise<BlockNode>]);
/** It is written to and never read. */
const isRead = (name: string) => name !== 'replication, primary';

test('every driver that there is has its cases here', () => {
  const here = new Set(cases.map(([name]) => name.split(',')[0]));
  expect([...here].sort()).toEqual([...blockDrivers].sort());
});

describe.each(cases)('%s', (name, make) => {
  test('gives back what was written, zeroes where zeroes were asked, and no more', async () => {
    const node = await make();
    expect([node.length, node.readOnly]).toEqual([SIZE, false]);
    await node.pwrite(64 * KiB, pattern(64 * KiB), true);
    await node.writeZeroes(80 * KiB, 4 * KiB);
    await node.flush();
    if (!isRead(name)) return;
    const expected = Buffer.alloc(SIZE);
    pattern(64 * KiB).copy(expected, 64 * KiB);
    expected.fill(0, 80 * KiB, 84 * KiB);
    expectSame(await node.pread(0, SIZE), expected);
    await node.discard(64 * KiB, 64 * KiB);
    expect((await node.pread(64 * KiB, 64 * KiB)).length).toBe(64 * KiB);
    expectSame(await node.pread(0, 64 * KiB), Buffer.alloc(64 * KiB));
  });

  test('says of its blocks what a read confirms, piece by piece to the end', async () => {
    const node = await make();
    await node.pwrite(128 * KiB, pattern(4 * KiB));
    if (!isRead(name)) return;
    for (let at = 0; at < SIZE;) {
      const { length, zero } = await node.blockStatus(at, SIZE - at);
      expect(length).toBeGreaterThan(0);
      expect(length).toBeLessThanOrEqual(SIZE - at);
      if (zero) expectSame(await node.pread(at, length), Buffer.alloc(length));
      at += length;
    }
  });

  test('takes nothing beyond its end, and nothing when it is closed', async () => {
    const node = await make();
    await expect(node.pwrite(SIZE - 512, Buffer.alloc(1024))).rejects.toThrow('beyond its end');
    await expect(node.pread(SIZE, 512)).rejects.toThrow('beyond its end');
    await node.close();
    await node.close();
    await expect(node.pwrite(0, Buffer.alloc(512))).rejects.toThrow('is closed');
  });

  test('describes itself in words and numbers', async () => {
    const { driver } = await make();
    expect(blockDrivers).toContain(driver.format);
    for (const fact of Object.values(driver.describe()))
      expect(['string', 'number', 'boolean']).toContain(typeof fact);
  });
});
