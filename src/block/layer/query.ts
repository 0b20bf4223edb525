/** Plain data for query-block, query-named-block-nodes and `info block`. */
import { isDirect } from '../graph/backing.js';
import type { BitmapInfo, NamedBitmaps } from '../bitmaps/named-bitmaps.js';
import type { DriveBackend } from '../backend/backend.js';
import type { IoStatus } from '../contract/backend.js';
import type { ThrottleLimits } from '../options/throttle-limits.js';
import type { BlockNode } from '../contract/node.js';

export interface NodeInfo {
  'node-name': string;
  drv: string;
  ro: boolean;
  length: number;
  /** Past the host's page cache. */
  direct: boolean;
  detectZeroes: boolean;
  backingDepth: number;
  /** Of the host file or the server below, by way of `file`; '' where there is none. */
  filename: string;
  /** Who holds it, in words. */
  users: string[];
  children: { child: string; 'node-name': string }[];
  bitmaps: BitmapInfo[];
  /**
   * What the driver says of itself: filename, mode and state of a replication, server of an nbd ...
   */
  details: Record<string, string | number | boolean>;
}

export interface BlockInfo {
  /** '' where a guest device names a node. */
  device: string;
  /** The guest device in front; absent when none has claimed it. */
  qdev?: string;
  cache: string;
  'io-status': IoStatus;
  'in-flight': number;
  throttle?: { limits: ThrottleLimits; group: string };
  /** Its medium can be changed. */
  removable: boolean;
  /** Absent when the device in front has none. */
  tray?: { open: boolean; locked: boolean };
  /** Absent when the drive is empty. */
  inserted?: NodeInfo;
}

export function nodeInfo(node: BlockNode, bitmaps: NamedBitmaps): NodeInfo {
  return {
    'node-name': node.name,
    drv: node.driver.format,
    ro: node.readOnly,
    length: node.length,
    direct: isDirect(node),
    detectZeroes: node.policy.detectZeroes,
    backingDepth: backingDepth(node),
    filename: filenameOf(node),
    users: node.userLabels,
    children: [...node.children].map(([child, below]) => ({ child, 'node-name': below.name })),
    bitmaps: bitmaps.list(node),
    details: node.driver.describe(),
  };
}

export function blockInfo(backend: DriveBackend, bitmaps: NamedBitmaps): BlockInfo {
  const { tray } = backend;
  return {
    device: backend.id,
    ...(backend.attachedDevice !== undefined && { qdev: backend.attachedDevice }),
    cache: backend.options.cache,
    'io-status': backend.ioStatus,
    'in-flight': backend.inFlight,
    throttle: backend.throttle && {
      limits: backend.throttle.limits,
      group: backend.throttle.group,
    },
    removable: backend.removable,
    ...(tray && { tray: { open: tray.open, locked: tray.locked } }),
    ...(backend.hasMedium && { inserted: nodeInfo(backend.node, bitmaps) }),
  };
}

function filenameOf(node: BlockNode): string {
  for (let at: BlockNode | undefined = node; at; at = at.children.get('file')) {
    const { filename } = at.driver.describe();
    if (filename !== undefined) return String(filename);
  }
  return '';
}

function backingDepth(node: BlockNode): number {
  let depth = 0;
  for (let below = node.children.get('backing'); below; below = below.children.get('backing'))
    depth++;
  return depth;
}
