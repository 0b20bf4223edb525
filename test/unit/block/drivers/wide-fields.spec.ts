/**
 * Goal: a field of 64 bits that comes from an image or from a peer never becomes a number that has
 * lost its last bits: whatever does not fit is refused with a sentence, and nothing is written.
 * Method: every such field of a sound image, and of NBD, gets values about 2^53, 2^63 and 2^64.
 */
import { VmError } from '../../../../src/base/errors.js';
import { BlockNode } from '../../../../src/block/contract/node.js';
import { checkQcow2 } from '../../../../src/block/drivers/qcow2/check.js';
import { readHeader } from '../../../../src/block/drivers/qcow2/image.js';
import { clientHandshake } from '../../../../src/block/nbd/client-protocol.js';
import * as nbd from '../../../../src/block/nbd/codec.js';
import { ProtocolMachine } from '../../../../src/block/nbd/machine.js';
import { expectSame, pattern } from '../../../support/block-host.js';
import { MiB } from '../../../support/block-pair.js';
import { LoggedFile, newImage, openImage } from '../../../support/qcow2.js';

const CLUSTER = 4096;
/** The first that a number cannot hold with its neighbours, and some that are far beyond. */
const wide = [2n ** 53n, 2n ** 53n + 512n, 2n ** 55n, 2n ** 63n, 2n ** 64n - 512n];

let sound: Buffer;
let at: { l1: number; l2: number; refcountTable: number; refcountBlock: number };
beforeAll(async () => {
  const log = new LoggedFile();
  const file = await newImage({ size: 8 * MiB, clusterSize: CLUSTER, refcountBits: 64 }, log);
  const { node } = await openImage(file);
  await node.pwrite(0, pattern(CLUSTER));
  await node.close();
  const { l1Offset: l1, refcountTableOffset: refcountTable } = await readHeader(file);
  const pointer = (where: number) => Number(log.data.readBigUInt64BE(where) & 0xff_ffff_ffff_fe00n);
  at = { l1, l2: pointer(l1), refcountTable, refcountBlock: pointer(refcountTable) };
  sound = log.data;
});

function changed(where: number, value: bigint): { log: LoggedFile; file: BlockNode } {
  const log = new LoggedFile(Buffer.from(sound));
  log.data.writeBigUInt64BE(value, where);
  return { log, file: new BlockNode('file', log) };
}

describe.each([
  [8, 'backing_file_offset'],
  [24, 'size'],
  [40, 'l1_table_offset'],
  [48, 'refcount_table_offset'],
  [64, 'snapshots_offset'],
])('the qcow2 header at %i, %s', (where, field) => {
  test.each(wide)('%s', async value => {
    const { log, file } = changed(where, value);
    // Bits that a reader of fewer snapshots or names would skip count all the same.
    log.data.writeUInt32BE(1, 60);
    await expect(readHeader(file)).rejects.toThrow(`qcow2 header: ${field} is `);
  });
});

/** An entry of a table has bits that are no offset: they are kept out. */
const OFFSET = 0x00ff_ffff_ffff_f000n;
const COPIED = 2n ** 63n;
const beyond = wide.map(value => value & OFFSET).filter(value => value > 0n);

describe.each(beyond.concat(2n ** 55n + 2n ** 40n, OFFSET))('an offset of %s', offset => {
  test('in an L1 entry', async () => {
    const { log, file } = changed(at.l1, offset | COPIED);
    await expect(openImage(file)).rejects.toThrow(/L1 entry 0 is 0x[0-9a-f]+, beyond the end/);
    expect((await checkQcow2(file, await readHeader(file)).catch(failed)).corruptions).not.toBe(0);
    expectSame(
      log.data.subarray(CLUSTER),
      changed(at.l1, offset | COPIED).log.data.subarray(CLUSTER),
    );
  });

  test.each([
    ['data', 0n],
    ['zeroes that keep their cluster', 1n],
  ])('in an L2 entry: %s', async (_kind, flag) => {
    const { log, file } = changed(at.l2, offset | COPIED | flag);
    const before = Buffer.from(log.data.subarray(CLUSTER));
    const { node } = await openImage(file);
    await expect(node.pwrite(0, pattern(CLUSTER, 9))).rejects.toThrow('beyond the end of the file');
    await expect(node.pread(0, 512)).rejects.toThrow(VmError);
    await node.close().catch(() => undefined);
    expectSame(log.data.subarray(CLUSTER), before);
    expect((await checkQcow2(file, await readHeader(file))).corruptions).toBeGreaterThan(0);
  });

  test('in a refcount table entry', async () => {
    const { log, file } = changed(at.refcountTable, offset);
    await expect(openImage(file)).rejects.toThrow(
      /refcount table entry 0 is 0x[0-9a-f]+, beyond the end/,
    );
    expectSame(log.data, changed(at.refcountTable, offset).log.data);
  });
});

const failed = () => ({ corruptions: 1 });

test.each(wide)('a compressed cluster at %s', async value => {
  const offset = value & (2n ** 58n - 1n);
  const { log, file } = changed(at.l2, (2n ** 62n) | (offset === 0n ? 2n ** 57n : offset));
  const before = Buffer.from(log.data.subarray(CLUSTER));
  const { node } = await openImage(file);
  await expect(node.pread(0, 512)).rejects.toThrow('beyond the end of the file');
  await node.close().catch(() => undefined);
  expectSame(log.data.subarray(CLUSTER), before);
});

test.each(wide)('a refcount of %s is not counted on', async value => {
  const data = (8 * Number(sound.readBigUInt64BE(at.l2) & OFFSET)) / CLUSTER;
  const { log, file } = changed(at.refcountBlock + data, value);
  const found = await checkQcow2(file, await readHeader(file));
  expect(found.leaks + found.corruptions).toBeGreaterThan(0);
  const { node } = await openImage(file);
  // The cluster is given up: one less than that many is not written down as another number.
  await node.writeZeroes(0, CLUSTER).catch(() => undefined);
  await node.flush().catch(() => undefined);
  await node.close().catch(() => undefined);
  expect(log.data.readBigUInt64BE(at.refcountBlock + data)).toBe(value);
});

describe.each(wide.concat(2n ** 64n - 1n))('an NBD export of %s bytes', size => {
  const facts = Buffer.alloc(10);
  const reply = (option: number, type: number, data = Buffer.alloc(0)) =>
    nbd.encodeOptionReply(option, type, data);
  const greeting = nbd.greeting.encode({
    magic: nbd.NBD_MAGIC,
    option: nbd.OPTION_MAGIC,
    flags: 3,
  });
  function* handshake() {
    yield* clientHandshake({ exportName: 'x', tls: false });
  }
  const hear =
    (...said: Buffer[]) =>
    () => {
      const machine = new ProtocolMachine(handshake(), () => undefined);
      machine.start();
      machine.feed(Buffer.concat([greeting, ...said]));
    };
  beforeAll(() => {
    facts.writeBigUInt64BE(size, 0);
    facts.writeUInt16BE(1, 8);
  });
  test('is refused, by GO and by EXPORT_NAME', () => {
    const none = reply(nbd.NbdOpt.STRUCTURED_REPLY, nbd.NbdRep.ERR_UNSUP);
    const info = Buffer.concat([Buffer.from([0, nbd.NbdInfo.EXPORT]), facts]);
    const go = [reply(nbd.NbdOpt.GO, nbd.NbdRep.INFO, info), reply(nbd.NbdOpt.GO, nbd.NbdRep.ACK)];
    const tooLong = /the NBD export has [0-9]+ bytes, more than can be addressed here/;
    expect(hear(none, ...go)).toThrow(tooLong);
    expect(hear(none, reply(nbd.NbdOpt.GO, nbd.NbdRep.ERR_UNSUP), facts)).toThrow(tooLong);
  });
});
