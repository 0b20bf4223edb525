/**
 * Goal: what a guest writes while stream takes the same cluster over stays. Method: a guest that
 * writes at every moment at which stream has just learnt that the cluster is not yet the disk's
 * own.
 */
import { openImage } from '../../../../src/block/image/open.js';
import { startStream } from '../../../../src/block/jobs/start-commit.js';
import { expectSame, pattern, turns } from '../../../support/block-host.js';
import { jobBench, KiB } from '../../../support/jobs.js';

test('a write between the look and the copy', async () => {
  const bench = jobBench();
  await bench.qcow2('/base', 256 * KiB);
  const base = await openImage(bench.host, '/base', { format: 'qcow2', readOnly: false });
  await base.node.pwrite(0, pattern(256 * KiB, 1));
  await base.close();
  await bench.qcow2('/top', 256 * KiB, '/base');
  const guest = await bench.disk('file=/top,format=qcow2,id=d0,node-name=top');
  const { driver } = bench.layer.graph.node('top');
  const look = driver.blockStatus!.bind(driver);
  const writes: Promise<void>[] = [];
  const written = new Set<number>();
  driver.blockStatus = async (offset, length) => {
    const found = await look(offset, length);
    if (!found.allocated && bench.job('d0')) {
      written.add(offset);
      writes.push(guest.pwrite(offset, pattern(512, 2)));
      await turns(30);
    }
    return found;
  };
  await startStream(bench.layer.startContext, { device: 'd0' });
  await bench.until(() => bench.job('d0') === undefined);
  await Promise.all(writes);
  expect(written.size).toBeGreaterThan(0);
  const wanted = pattern(256 * KiB, 1);
  for (const offset of written) pattern(512, 2).copy(wanted, offset);
  expectSame(await guest.pread(0, 256 * KiB), wanted);
  await bench.layer.close();
});
