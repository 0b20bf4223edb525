/**
 * Writes to the image in its argument until somebody kills it, several requests at once; prints how
 * many writes are durable after each flush.
 */
import { openImage } from '../../src/block/image/open.js';
import { realHost } from './block-real-host.js';
import { writeNumber } from './qcow2-writes.js';

const LANES = 4;

const { node } = await openImage(realHost, process.argv[2], { format: 'qcow2', readOnly: false });
for (let n = 0; ; n += LANES) {
  await Promise.all(
    Array.from({ length: LANES }, (_, lane) =>
      node.pwrite(writeNumber(n + lane).offset, writeNumber(n + lane).data),
    ),
  );
  if (n % (LANES * 3) !== 0) continue;
  await node.flush();
  console.log(n + LANES);
}
