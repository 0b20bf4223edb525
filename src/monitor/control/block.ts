/** Drives, nodes and the NBD server. */
import type { BlockLayer } from '../../block/layer/layer.js';
import type { BlockInfo as DriveInfo, NodeInfo } from '../../block/layer/query.js';
import type { DriveBackend } from '../../block/backend/backend.js';
import {
  type BucketName,
  makeLimits,
  type ThrottleLimits,
} from '../../block/options/throttle-limits.js';
import type { Address } from '../../host/ports.js';
import type { BlockControl, BlockInfo, DriveStats, IoThrottle, NbdAddress } from '../vm.js';

const nbdAddress = (at: Address): NbdAddress =>
  at.kind === 'unix'
    ? { type: 'unix', path: at.path }
    : { type: 'inet', host: at.host, port: at.port };

export function blockControl(block: BlockLayer): BlockControl {
  return {
    nbdServerStart: (address, tlsCreds) =>
      block.nbdServerStart(
        address.type === 'unix'
          ? { kind: 'unix', path: address.path }
          : { kind: 'tcp', host: address.host, port: address.port },
        tlsCreds,
      ),
    nbdServerAdd: async options => {
      if (options.writable) await block.activate(options.device);
      block.nbdServerAdd(options);
    },
    nbdServerStop: () => block.nbd.stop(),
    nbdServer: () => {
      const { address } = block.nbd;
      return address && { address: nbdAddress(address), exports: block.nbd.describe() };
    },
    get devices() {
      return block.list().map(({ id, backend }) => id || backend.nodeName);
    },
    driveAdd: (options, { nodeOnly }) => block.driveAdd(options, { noBackend: nodeOnly }),
    driveDel: id => block.driveDel(id),
    blockdevAdd: options => block.blockdevAdd(options),
    changeChildren: async change => {
      await block.blockdevChange(change);
    },
    stats: () => block.list().map(({ backend }) => driveStats(backend)),
    resize: (name, bytes) => block.resize(name, bytes),
    setThrottle: (id, limits) => block.setThrottle(id, limitsOf(limits), limits.group),
    info: () => block.queryBlock().map(driveInfo),
    nodes: () => block.queryNamedBlockNodes().map(node => nodeInfo('', node)),
  };
}

function driveInfo(drive: DriveInfo): BlockInfo {
  const info = nodeInfo(drive.device, drive.inserted);
  const front = drive.qdev === undefined ? 'Attached to: nothing' : `Attached to: ${drive.qdev}`;
  const { limits, group } = drive.throttle ?? {};
  const throttle = limits && { ...throttleOf(limits), group };
  const lines = throttle
    ? [
        `I/O throttling: ${Object.entries(throttle)
          .map(([name, value]) => `${name}=${value}`)
          .join(' ')}`,
      ]
    : [];
  const cache = {
    writeback: drive.cache !== 'writethrough',
    direct: info.cache.direct,
    'no-flush': drive.cache === 'unsafe',
  };
  return {
    ...info,
    qdev: drive.qdev,
    cache,
    ioStatus: drive['io-status'],
    throttle,
    details: [
      front,
      `Cache mode: ${drive.cache}${cache.direct ? ', direct' : ''}`,
      ...(drive['io-status'] === 'ok' ? [] : [`I/O status: ${drive['io-status']}`]),
      ...lines,
      ...info.details,
    ],
  };
}

function nodeInfo(device: string, node: NodeInfo): BlockInfo {
  const details = Object.entries(node.details).filter(([name]) => name !== 'filename');
  return {
    device,
    nodeName: node['node-name'],
    driver: node.drv,
    file: node.filename,
    readOnly: node.ro,
    sizeBytes: node.length,
    cache: { writeback: true, direct: node.direct, 'no-flush': false },
    detectZeroes: node.detectZeroes,
    backingDepth: node.backingDepth,
    children: node.children.map(({ child, 'node-name': nodeName }) => ({ child, nodeName })),
    bitmaps: node.bitmaps,
    details: details.map(([name, value]) => `${name}: ${value}`),
  };
}

const buckets: Readonly<Record<BucketName, string>> = {
  'bps-total': 'bps',
  'bps-read': 'bps_rd',
  'bps-write': 'bps_wr',
  'iops-total': 'iops',
  'iops-read': 'iops_rd',
  'iops-write': 'iops_wr',
};

function limitsOf(given: IoThrottle): ThrottleLimits {
  const value = (name: string) =>
    (given as unknown as Readonly<Record<string, number | undefined>>)[name];
  return makeLimits(
    bucket => ({
      avg: value(buckets[bucket]) ?? 0,
      max: value(`${buckets[bucket]}_max`) ?? 0,
      length: value(`${buckets[bucket]}_max_length`) ?? 1,
    }),
    given.iops_size,
  );
}

function throttleOf({ buckets: limits, iopsSize }: ThrottleLimits): IoThrottle {
  const out: Record<string, number> = {};
  for (const [bucket, { avg, max, length }] of Object.entries(limits)) {
    const name = buckets[bucket as BucketName];
    out[name] = avg;
    if (max > 0) Object.assign(out, { [`${name}_max`]: max, [`${name}_max_length`]: length });
  }
  if (iopsSize > 0) out.iops_size = iopsSize;
  return out as unknown as IoThrottle;
}

function driveStats({ id, attachedDevice, nodeName, stats }: DriveBackend): DriveStats {
  const of = {
    rd: stats.of('read'),
    wr: stats.of('write'),
    flush: stats.of('flush'),
    unmap: stats.of('unmap'),
  };
  return {
    device: id,
    qdev: attachedDevice,
    'node-name': nodeName,
    stats: {
      rd_bytes: of.rd.bytes,
      wr_bytes: of.wr.bytes,
      unmap_bytes: of.unmap.bytes,
      rd_operations: of.rd.operations,
      wr_operations: of.wr.operations,
      flush_operations: of.flush.operations,
      unmap_operations: of.unmap.operations,
      rd_total_time_ns: of.rd.ns,
      wr_total_time_ns: of.wr.ns,
      flush_total_time_ns: of.flush.ns,
      unmap_total_time_ns: of.unmap.ns,
      // Requests go to the disk as they come.
      rd_merged: 0,
      wr_merged: 0,
      unmap_merged: 0,
      wr_highest_offset: stats.highestWrite,
      idle_time_ns: stats.idleNs,
      failed_rd_operations: of.rd.failed,
      failed_wr_operations: of.wr.failed,
      failed_flush_operations: of.flush.failed,
      failed_unmap_operations: of.unmap.failed,
      invalid_rd_operations: of.rd.invalid,
      invalid_wr_operations: of.wr.invalid,
      invalid_flush_operations: of.flush.invalid,
      invalid_unmap_operations: of.unmap.invalid,
      account_invalid: true,
      account_failed: true,
    },
  };
}
