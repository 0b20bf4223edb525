/**
 * `-o preallocation=...` of a new image: its clusters, or their room on the host's disk, are
 * allocated before the first write.
 */
import { VmError } from '../../base/errors.js';
import { inRole } from '../contract/roles.js';
import type { Qcow2Driver } from '../drivers/qcow2/driver.js';
import type { BlockNode } from '../contract/node.js';

/**
 * metadata: clusters without room on the disk (qcow2); falloc: room that nothing was written to;
 * full: written.
 */
export const preallocations = ['off', 'metadata', 'falloc', 'full'] as const;
export type Preallocation = (typeof preallocations)[number];

const STEP = 64 * 1024 * 1024;
const WRITTEN = 1024 * 1024;

/** It holds nothing, and no cluster of its file was in use before. */
interface NewImage {
  readonly node: BlockNode;
  readonly file: BlockNode;
  readonly qcow2?: Qcow2Driver;
}

export async function preallocate(
  { node, file, qcow2 }: NewImage,
  how: Preallocation,
): Promise<void> {
  if (how === 'off') return;
  if (!qcow2) return fill(file, how, 0, node.length);
  const unit = qcow2.unit;
  const length = Math.ceil(node.length / unit) * unit;
  for (let at = 0; at < length; at += STEP) {
    const part = Math.min(STEP, length - at);
    await qcow2.fillNew(at, part, unit, async (_done, to, bytes) => {
      await fill(file, how, to, bytes);
      return new Uint8Array(bytes / unit).fill(1);
    });
  }
  await node.flush();
}

async function fill(
  file: BlockNode,
  how: Exclude<Preallocation, 'off'>,
  offset: number,
  length: number,
): Promise<void> {
  if (file.length < offset + length) await file.resize(offset + length);
  if (how === 'falloc') await reserve(file, offset, length);
  if (how !== 'full') return;
  const zeroes = Buffer.alloc(Math.min(WRITTEN, length));
  for (let done = 0; done < length; done += zeroes.length)
    await file.pwrite(offset + done, zeroes.subarray(0, length - done));
}

async function reserve(file: BlockNode, offset: number, length: number): Promise<void> {
  const reserved = inRole('file', file)?.hostFile.allocate?.(offset, length);
  if (!reserved)
    throw new VmError('preallocation=falloc: this file cannot reserve room', {
      hint: 'preallocation=full writes it instead.',
    });
  await reserved;
}
