/** How a disk is used and may be used: counters, limits, length. */
import { VmError } from '../../base/errors.js';
import { command, hmp, part } from '../schema.js';
import { bool, int, list, optional, size, str, struct } from '../../words/types.js';
import type { DriveStats, IoThrottle } from '../vm.js';

const counters = struct('BlockDeviceStats', {
  rd_bytes: int(),
  wr_bytes: int(),
  unmap_bytes: int(),
  rd_operations: int(),
  wr_operations: int(),
  flush_operations: int(),
  unmap_operations: int(),
  rd_total_time_ns: int(),
  wr_total_time_ns: int(),
  flush_total_time_ns: int(),
  unmap_total_time_ns: int(),
  wr_highest_offset: int(),
  rd_merged: int(),
  wr_merged: int(),
  unmap_merged: int(),
  idle_time_ns: optional(int()),
  failed_rd_operations: int(),
  failed_wr_operations: int(),
  failed_flush_operations: int(),
  failed_unmap_operations: int(),
  invalid_rd_operations: int(),
  invalid_wr_operations: int(),
  invalid_flush_operations: int(),
  invalid_unmap_operations: int(),
  account_invalid: bool(),
  account_failed: bool(),
});
const stats = struct('BlockStats', {
  device: optional(str()),
  qdev: optional(str()),
  'node-name': optional(str()),
  stats: counters,
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
    feature: 'block',
    summary: 'show block device statistics',
    returns: list(stats),
    run: vm => [...part(vm, 'block').stats()],
    show: result => result.map(showStats).join('\n'),
  }),
  command({
    name: 'block_resize',
    since: '0.1',
    feature: 'block',
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
      return part(vm, 'block').resize((id ?? node)!, bytes);
    },
    hmp: hmp(
      { device, size: size('new length; MiB without a suffix', 'M') },
      async (vm, { device: id, size: bytes }) => {
        await part(vm, 'block').resize(id, bytes);
        return undefined;
      },
    ),
  }),
  command({
    name: 'block_set_io_throttle',
    since: '0.1',
    feature: 'block',
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
    run: (vm, { device: name, id, ...limits }) => {
      if ((id === undefined) === (name === undefined))
        throw new VmError("Need exactly one of 'device' and 'id'");
      return part(vm, 'block').setThrottle((name ?? id)!, limits satisfies IoThrottle);
    },
    hmp: hmp({ device, ...rates }, async (vm, { device: id, ...limits }) => {
      await part(vm, 'block').setThrottle(id, limits);
      return undefined;
    }),
  }),
];

function showStats({ device: id, qdev, 'node-name': node, stats: s }: DriveStats): string {
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
