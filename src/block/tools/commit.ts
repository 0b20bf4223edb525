/**
 * Commit of an image that no VM uses: what it holds over a base goes into the base, and the image
 * then holds nothing.
 */
import { VmError } from '../../base/errors.js';
import { type ByteProgress, isZero } from '../contract/driver.js';
import { allocatedIn, backingNode, chainAbove, requireNoLiveBitmaps } from '../graph/chain.js';
import { nodeOfFile } from '../graph/filename.js';
import type { BlockNode } from '../contract/node.js';
import type { OpenedImage } from '../image/open.js';
import { pieces } from './pieces.js';

const PIECE = 2 * 1024 * 1024;

export interface CommitImageOptions {
  /** As the image or the user calls it; its backing file. */
  base?: string;
  /** The image keeps what it holds. */
  keep: boolean;
  progress?: ByteProgress;
}

/** image: open for writing, with its chain. */
export async function commitImage(image: OpenedImage, options: CommitImageOptions): Promise<void> {
  const { node: top, qcow2, graph } = image;
  const chain = chainAbove(top, undefined);
  if (!qcow2 || chain.length === 1) throw new VmError('Image does not have a backing file');
  const base =
    options.base === undefined
      ? chain[1]
      : (nodeOfFile(chain.slice(1), options.base) ?? nodeOfFile(chain, options.base));
  if (!base || base === top)
    throw new VmError(`'${options.base}' is not in the backing chain of the image`);
  // With images in between, which would then hide what the base has got, it must keep its own.
  const empty = !options.keep && base === backingNode(top);
  if (empty && qcow2.snapshots.length > 0)
    throw new VmError('the image has snapshots, so it cannot be emptied', {
      hint: '-d leaves it as it is.',
    });
  requireNoLiveBitmaps(base);
  await graph.reopen(base, false);
  if (base.length < top.length) await base.resize(top.length);
  await copyHeld(top, chainAbove(top, base), base, options.progress);
  await base.flush();
  if (empty) await qcow2.clear();
}

async function copyHeld(
  top: BlockNode,
  above: readonly BlockNode[],
  base: BlockNode,
  progress?: ByteProgress,
): Promise<void> {
  let done = 0;
  await pieces(top.length, PIECE, async (offset, length) => {
    for (let at = offset; at < offset + length;) {
      const { allocated, length: alike } = await allocatedIn(above, at, offset + length - at);
      if (allocated) {
        const data = await top.pread(at, alike);
        await (isZero(data) ? base.writeZeroes(at, alike) : base.pwrite(at, data));
      }
      at += alike;
    }
    done += length;
    progress?.(done, top.length);
  });
}
