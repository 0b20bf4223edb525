/**
 * Which disks cannot go with a guest that migrates without COLO: its disks stay where they are, and
 * another process opens them.
 */
import type { NodeInfo } from '../block/layer/query.js';

/** A sentence, or undefined. live: both sides have their disks open at the same time. */
export function diskObstacle(
  nodes: readonly NodeInfo[],
  how: 'outgoing' | 'incoming',
  live: boolean,
): string | undefined {
  const inMemory = nodes.find(node => node.drv === 'memory' && !node.ro);
  if (inMemory)
    return (
      `disk '${inMemory['node-name']}' lies in the memory of this process: what it holds would ` +
      'stay behind'
    );
  const replica = nodes.find(({ details }) => details.mode === 'secondary');
  if (live && how === 'incoming' && replica)
    return (
      `disk '${replica['node-name']}' is a replica, and what was read of it here is old when the ` +
      'guest comes: a live migration wants it without replication'
    );
  return undefined;
}
