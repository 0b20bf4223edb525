/** A block layer over three simulated files, and the drive of a primary. */
import { Events } from '../../src/base/events.js';
import { BlockLayer } from '../../src/block/layer/layer.js';
import type { QmpEvents } from '../../src/qapi/types.js';
import { pattern, testHost } from './block-host.js';

export async function layerSetUp() {
  const host = testHost();
  for (const name of ['a', 'b', 'c']) host.files.put(`/${name}.img`, pattern(64 * 1024));
  const events = new Events<QmpEvents>();
  const layer = new BlockLayer(host, events);
  return { host, events, layer };
}

export const quorumDrive =
  'if=virtio,id=q,driver=quorum,read-pattern=fifo,vote-threshold=1,' +
  'children.0.file.filename=/a.img,children.0.driver=raw';
