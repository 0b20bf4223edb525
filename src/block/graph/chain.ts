/** Backing chains as jobs see them: who is above whom, and what a part of a chain holds. */
import { VmError } from '../../base/errors.js';
import type { DirtyBitmap } from '../bitmaps/dirty-bitmap.js';
import { inRole } from '../contract/roles.js';
import type { BlockNode } from '../contract/node.js';

/** One look at the allocation covers so much at most, and then the job may pause. */
const STEP = 64 * 1024 * 1024;

export const backingNode = (node: BlockNode): BlockNode | undefined => node.children.get('backing');

/** From top down to the node above base, or to the end. VmError: base is not in the chain. */
export function chainAbove(top: BlockNode, base: BlockNode | undefined): BlockNode[] {
  const chain: BlockNode[] = [];
  for (let node: BlockNode | undefined = top; node !== base; node = backingNode(node)) {
    if (!node) throw new VmError(`Node '${base!.name}' is not a backing image of '${top.name}'`);
    chain.push(node);
  }
  return chain;
}

/** The node itself, and everything that it reads. */
export function isBelow(node: BlockNode, top: BlockNode): boolean {
  return node === top || [...top.children.values()].some(child => isBelow(node, child));
}

/** What is committed into an image is seen by none of its persistent bitmaps. */
export function requireNoLiveBitmaps(node: BlockNode): void {
  const live = inRole('image', node)?.liveBitmaps ?? [];
  if (live.length === 0) return;
  const those = `'${live.join("', '")}'`;
  throw new VmError(
    `node '${node.name}' has persistent bitmaps, which would miss what is committed into it: ` +
      those,
    { hint: 'qemu-img bitmap --remove takes one away.' },
  );
}

/** Marks what the nodes of the chain hold, one over the other. step: called between two looks. */
export async function markAllocated(
  chain: readonly BlockNode[],
  todo: DirtyBitmap,
  step: () => Promise<void>,
): Promise<void> {
  const { length } = chain[0];
  for (let at = 0; at < length;) {
    await step();
    const found = await allocatedIn(chain, at, Math.min(STEP, length - at));
    if (found.allocated) todo.mark(at, found.length);
    at += found.length;
  }
}

/** Whether the first bytes of the range are held by one of the nodes; so many bytes are alike. */
export async function allocatedIn(
  chain: readonly BlockNode[],
  offset: number,
  length: number,
): Promise<{ allocated: boolean; length: number }> {
  let alike = length;
  for (const node of chain) {
    const there = Math.min(alike, node.length - offset);
    // Beyond its end a backing image reads as zeroes, which is not what the next one may hold.
    if (there <= 0) return { allocated: true, length: alike };
    const status = await node.blockStatus(offset, there);
    alike = Math.min(alike, status.length);
    if (status.allocated || !backingNode(node)) return { allocated: true, length: alike };
  }
  return { allocated: false, length: alike };
}
