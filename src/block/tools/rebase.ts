/**
 * Another backing file for an image that no VM uses, so that it reads as before: what the two
 * differ in goes into the image.
 */
import { VmError } from '../../base/errors.js';
import { type ByteProgress, SECTOR } from '../contract/driver.js';
import { backingNode } from '../graph/chain.js';
import type { BlockNode } from '../contract/node.js';
import type { OpenedImage } from '../image/open.js';
import { pieces } from './pieces.js';

const PIECE = 2 * 1024 * 1024;

export interface Backing {
  /** As the header shall name it. */
  name: string;
  format: string;
}

/** Without a look at what either backing file holds. */
export async function changeBacking(
  { qcow2, format }: OpenedImage,
  backing: Backing | undefined,
): Promise<void> {
  if (!qcow2) throw new VmError(`an image of format '${format}' has no backing file`);
  await qcow2.setBackingFile(backing?.name, backing?.format);
}

/** image: open for writing, with its chain. target: what `backing` names. */
export async function rebaseImage(
  image: OpenedImage,
  target: BlockNode | undefined,
  backing: Backing | undefined,
  progress?: ByteProgress,
): Promise<void> {
  const { node, qcow2, format } = image;
  if (!qcow2) throw new VmError(`an image of format '${format}' has no backing file`);
  const old = backingNode(node);
  qcow2.contentStays();
  let done = 0;
  await pieces(node.length, PIECE, async (offset, length) => {
    for (let at = offset; at < offset + length;) {
      const { kind, length: alike } = await qcow2.mappingAt(at, offset + length - at);
      if (kind === 'unallocated')
        await keep(node, at, await readBelow(old, at, alike), await readBelow(target, at, alike));
      at += alike;
    }
    done += length;
    progress?.(done, node.length);
  });
  // What was read through the old one must be held before the header names the new one.
  await node.flush();
  await changeBacking(image, backing);
}

/** Into the image, where the two differ. */
async function keep(node: BlockNode, at: number, old: Buffer, next: Buffer): Promise<void> {
  const differs = (from: number) =>
    !old.subarray(from, from + SECTOR).equals(next.subarray(from, from + SECTOR));
  if (old.equals(next)) return;
  for (let from = 0; from < old.length;) {
    const start = from;
    while (from < old.length && differs(from)) from += SECTOR;
    const part = old.subarray(start, from);
    // As data even if it is zeroes: as long as the old backing file is there, nothing would have to
    // be held of them.
    if (part.length > 0) await node.pwrite(at + start, part);
    else from += SECTOR;
  }
}

/** Zeroes beyond its end, or where there is none. */
async function readBelow(node: BlockNode | undefined, at: number, length: number): Promise<Buffer> {
  const there = node ? Math.max(0, Math.min(length, node.length - at)) : 0;
  const data = there > 0 ? await node!.pread(at, there) : Buffer.alloc(0);
  return there === length ? data : Buffer.concat([data], length);
}
