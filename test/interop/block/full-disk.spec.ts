/**
 * Goal: a full file system of the host stops the guest and loses nothing. Method: images in a small
 * tmpfs, a driver that fills the disk through virtio-blk; room is made, the machine runs again.
 * Skipped where no file system may be mounted.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Events } from '../../../src/base/events.js';
import { createImage } from '../../../src/block/image/open.js';
import { defaultCreateOptions } from '../../../src/block/drivers/qcow2/create.js';
import { BlockLayer } from '../../../src/block/layer/layer.js';
import { parseDrive } from '../../../src/block/options/options.js';
import { nodeHost } from '../../../src/host/node/host.js';
import { VirtioBlk } from '../../../src/hw/block/virtio-blk.js';
import type { QmpEvents } from '../../../src/qapi/types.js';
import { expectSame, pattern } from '../../support/block-host.js';
import { settle } from '../../support/device-bench.js';
import { VirtioBench } from '../../support/virtio-bench.js';

const KiB = 1024;
const dir = mkdtempSync(join(tmpdir(), 'colo-full-'));
const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=2m', 'none', dir]).status === 0;
afterAll(() => {
  if (mounted) spawnSync('umount', [dir]);
  rmSync(dir, { recursive: true });
});
const withSmallDisk = mounted ? test : test.skip;
const host = nodeHost();

withSmallDisk.each(['raw', 'qcow2'] as const)('%s', async format => {
  const image = join(dir, format);
  await createImage(host, image, format, { ...defaultCreateOptions, size: 3072 * KiB });
  writeFileSync(join(dir, 'ballast'), Buffer.alloc(1024 * KiB, 1));
  const events = new Events<QmpEvents>();
  const failures: QmpEvents['BLOCK_IO_ERROR'][] = [];
  events.on('BLOCK_IO_ERROR', failure => void failures.push(failure));
  const layer = new BlockLayer(host, events);
  await layer.addDrive(parseDrive(`if=none,id=d,driver=${format},file.filename=${image}`));
  const bench = new VirtioBench(() => new VirtioBlk(layer.claim('d', 'virtio-disk0'), 'SN'));
  let stopping: Promise<void> | undefined;
  layer.stopVm = () => {
    stopping ??= bench.device.pause();
  };
  const {
    queues: [queue],
  } = bench.up([9]);
  const { ram } = bench.vm;
  const PIECE = 32 * KiB;
  const send = (n: number) => {
    const header = 0x80000 + 64 * n;
    ram.writeU32(header, 1);
    ram.writeU64(header + 8, BigInt((n * PIECE) / 512));
    ram.write(0x100000 + PIECE * n, pattern(PIECE, n));
    queue.add([
      { gpa: header, length: 16 },
      { gpa: 0x100000 + PIECE * n, length: PIECE },
      { gpa: header + 32, length: 1, write: true },
    ]);
    queue.kick();
  };
  const done = async (wanted: number) => {
    let count = 0;
    for (let turn = 0; turn < 2000 && count < wanted && !stopping; turn++) {
      await settle();
      count += queue.take().length;
    }
    return count;
  };
  const PIECES = 44;
  let written = 0;
  for (; written < PIECES && !stopping; written++) {
    send(written);
    await done(1);
  }
  expect(written).toBeLessThan(PIECES);
  await stopping;
  expect(failures[0]).toMatchObject({
    device: 'd',
    operation: 'write',
    action: 'stop',
    nospace: true,
  });
  expect(layer.queryBlock()[0]['io-status']).toBe('nospace');
  rmSync(join(dir, 'ballast'));
  stopping = undefined;
  events.emit('RESUME', {});
  bench.device.resume();
  expect(await done(1)).toBe(1);
  expect(layer.queryBlock()[0]['io-status']).toBe('ok');
  for (; written < PIECES; written++) {
    send(written);
    expect(await done(1)).toBe(1);
  }
  for (let n = 0; n < PIECES; n++) {
    expect(ram.readU8(0x80000 + 64 * n + 32)).toBe(0);
    expectSame(await layer.backend('d').pread(n * PIECE, PIECE), pattern(PIECE, n));
  }
  await layer.close();
  if (format === 'qcow2')
    expect(spawnSync('qemu-img', ['check', '-f', 'qcow2', image]).status).toBe(0);
  rmSync(image);
});
