/** How a disk is used and may be used: counters, limits, length. */
import { VmError } from '../../base/errors.js';
import type { DriveBackend } from '../../block/backend/backend.js';
import { answersOf } from '../answer.js';
import { limitsOf } from '../io-throttle.js';
import { command, hmp } from '../schema.js';
import { bool, int, list, optional, size, str, type TypeOf } from '../../words/types.js';

type Kind = 'read' | 'write' | 'flush' | 'unmap';
type Measure = 'bytes' | 'operations' | 'ns' | 'failed' | 'invalid';
const ofStats = answersOf<DriveBackend['stats']>();
const count = (kind: Kind, measure: Measure) =>
  ofStats.fact(int(), stats => stats.of(kind)[measure]);
const none = ofStats.fact(int(), () => 0);
const counters = ofStats.answer('BlockDeviceStats', {
  rd_bytes: count('read', 'bytes'),
  wr_bytes: count('write', 'bytes'),
  unmap_bytes: count('unmap', 'bytes'),
  rd_operations: count('read', 'operations'),
  wr_operations: count('write', 'operations'),
  flush_operations: count('flush', 'operations'),
  unmap_operations: count('unmap', 'operations'),
  rd_total_time_ns: count('read', 'ns'),
  wr_total_time_ns: count('write', 'ns'),
  flush_total_time_ns: count('flush', 'ns'),
  unmap_total_time_ns: count('unmap', 'ns'),
  wr_highest_offset: ofStats.fact(int(), stats => stats.highestWrite),
  // Requests go to the disk as they come.
  rd_merged: none,
  wr_merged: none,
  unmap_merged: none,
  idle_time_ns: ofStats.fact(optional(int()), stats => stats.idleNs),
  failed_rd_operations: count('read', 'failed'),
  failed_wr_operations: count('write', 'failed'),
  failed_flush_operations: count('flush', 'failed'),
  failed_unmap_operations: count('unmap', 'failed'),
  invalid_rd_operations: count('read', 'invalid'),
  invalid_wr_operations: count('write', 'invalid'),
  invalid_flush_operations: count('flush', 'invalid'),
  invalid_unmap_operations: count('unmap', 'invalid'),
  account_invalid: ofStats.fact(bool(), () => true),
  account_failed: ofStats.fact(bool(), () => true),
});
const ofDrive = answersOf<DriveBackend>();
const drives = ofDrive.answer('BlockStats', {
  device: ofDrive.fact(optional(str()), drive => drive.id),
  qdev: ofDrive.fact(optional(str()), drive => drive.attachedDevice),
  'node-name': ofDrive.fact(optional(str()), drive => drive.nodeName),
  stats: ofDrive.fact(counters.type, drive => counters.from(drive.stats)),
});

const most = { min: 0, max: 1e15 };
const rate = (summary: string) => int(summary, most);
const seconds = (of: string) =>
  optional(int(`seconds that a burst of ${of} may last`, { min: 1, max: 2 ** 32 - 1 }));
const burst = (of: string) => optional(rate(`${of} in a burst`));
const device = str('the drive', { complete: 'block-nodes' });
const rates = {
  bps: rate('bytes a second, reads and writes together; 0: no limit'),
  bps_rd: rate('bytes read a second'),
  bps_wr: rate('bytes written a second'),
  iops: rate('operations a second, together'),
  iops_rd: rate('reads a second'),
  iops_wr: rate('writes a second'),
};

export const blockIoCommands = [
  command({
    name: 'query-blockstats',
    since: '0.1',
    summary: 'show block device statistics',
    returns: list(drives.type),
    run: ({ block }) => block.list().map(({ backend }) => drives.from(backend)),
    show: result => result.map(showStats).join('\n'),
  }),
  command({
    name: 'block_resize',
    since: '0.1',
    summary: 'resize a block image',
    examples: ['block_resize disk0 20G'],
    args: {
      device: optional(str('the drive', { complete: 'block-nodes' })),
      'node-name': optional(str('the node', { complete: 'block-nodes' })),
      size: size('new length in bytes'),
    },
    run: (vm, { device: id, 'node-name': node, size: bytes }) => {
      if ((id === undefined) === (node === undefined))
        throw new VmError("Need exactly one of 'device' and 'node-name'");
      return vm.block.resize((id ?? node)!, bytes);
    },
    hmp: hmp(
      { device, size: size('new length; MiB without a suffix', 'M') },
      async (vm, { device: id, size: bytes }) => {
        await vm.block.resize(id, bytes);
        return undefined;
      },
    ),
  }),
  command({
    name: 'block_set_io_throttle',
    since: '0.1',
    summary: 'change I/O throttle limits for a block drive',
    notes: ["A limit of 0 is none. Without *_max a burst is a tenth of a second's worth."],
    examples: ['block_set_io_throttle disk0 10000000 0 0 0 0 0'],
    args: {
      device: optional(str('the drive', { complete: 'block-nodes' })),
      id: optional(str('the drive', { complete: 'block-nodes' })),
      ...rates,
      bps_max: burst('bytes'),
      bps_rd_max: burst('bytes read'),
      bps_wr_max: burst('bytes written'),
      iops_max: burst('operations'),
      iops_rd_max: burst('reads'),
      iops_wr_max: burst('writes'),
      bps_max_length: seconds('bps_max'),
      bps_rd_max_length: seconds('bps_rd_max'),
      bps_wr_max_length: seconds('bps_wr_max'),
      iops_max_length: seconds('iops_max'),
      iops_rd_max_length: seconds('iops_rd_max'),
      iops_wr_max_length: seconds('iops_wr_max'),
      iops_size: optional(rate('a request of more bytes counts as several')),
      group: optional(str('drives of one group share one budget')),
    },
    run: (vm, { device: name, id, group, ...numbers }) => {
      if ((id === undefined) === (name === undefined))
        throw new VmError("Need exactly one of 'device' and 'id'");
      return vm.block.setThrottle((name ?? id)!, limitsOf(numbers), group);
    },
    hmp: hmp({ device, ...rates }, (vm, { device: id, ...numbers }) => {
      vm.block.setThrottle(id, limitsOf(numbers));
      return undefined;
    }),
  }),
];

function showStats({
  device: id,
  qdev,
  'node-name': node,
  stats: s,
}: TypeOf<typeof drives.type>): string {
  return (
    `${id || node || qdev}: rd_bytes=${s.rd_bytes} wr_bytes=${s.wr_bytes} ` +
    `rd_operations=${s.rd_operations} wr_operations=${s.wr_operations} ` +
    `flush_operations=${s.flush_operations}` +
    ` wr_total_time_ns=${s.wr_total_time_ns} rd_total_time_ns=${s.rd_total_time_ns} ` +
    `flush_total_time_ns=${s.flush_total_time_ns} rd_merged=${s.rd_merged} ` +
    `wr_merged=${s.wr_merged}` +
    `${s.idle_time_ns === undefined ? '' : ` idle_time_ns=${s.idle_time_ns}`}`
  );
}
