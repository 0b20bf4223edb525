/** Plain data for query-block, query-named-block-nodes and `info block`. */
import type { DriveBackend, IoStatus } from './backend.js';
import type { BlockNode } from './node.js';

export interface NodeInfo {
  'node-name': string;
  drv: string;
  ro: boolean;
  length: number;
  /** Who holds it, in words. */
  users: string[];
  children: { child: string; 'node-name': string }[];
  /** What the driver says of itself: filename, mode and state of a replication, server of an nbd ... */
  details: Record<string, string | number | boolean>;
}

export interface BlockInfo {
  device: string;
  /** The guest device in front; absent when none has claimed it. */
  qdev?: string;
  cache: string;
  'io-status': IoStatus;
  'in-flight': number;
  inserted: NodeInfo;
}

export function nodeInfo(node: BlockNode): NodeInfo {
  return {
    'node-name': node.name,
    drv: node.driver.format,
    ro: node.readOnly,
    length: node.length,
    users: node.userLabels,
    children: [...node.children].map(([child, below]) => ({ child, 'node-name': below.name })),
    details: node.driver.describe(),
  };
}

export function blockInfo(backend: DriveBackend): BlockInfo {
  return {
    device: backend.id,
    ...(backend.attachedDevice !== undefined && { qdev: backend.attachedDevice }),
    cache: backend.options.cache,
    'io-status': backend.ioStatus,
    'in-flight': backend.inFlight,
    inserted: nodeInfo(backend.node),
  };
}
