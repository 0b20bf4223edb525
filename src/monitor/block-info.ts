/** What there is to know of a disk or node: query-block, query-named-block-nodes, `info block`. */
import type { BlockInfo, NodeInfo } from '../block/layer/query.js';
import { bool, int, list, oneOf, optional, str, struct } from '../words/types.js';
import { answersOf } from './answer.js';
import { burstWords, rateWords, wordsOf } from './io-throttle.js';

/** drive: of a disk, what is in front of its node. */
export interface Disk {
  readonly node: NodeInfo;
  readonly drive?: BlockInfo;
}
export const diskOf = (drive: BlockInfo): Disk | undefined =>
  drive.inserted && { node: drive.inserted, drive };

const of = answersOf<Disk>();
const limits = ({ drive }: Disk) => drive?.throttle && wordsOf(drive.throttle.limits);
const rates = Object.fromEntries(
  rateWords.map(word => [word, of.fact(int(), disk => limits(disk)?.[word] ?? 0)]),
);
const bursts = Object.fromEntries(
  burstWords.map(word => [word, of.fact(optional(int()), disk => limits(disk)?.[word])]),
);

const cacheOf = ({ drive, node }: Disk) => ({
  writeback: drive?.cache !== 'writethrough',
  direct: node.direct,
  'no-flush': drive?.cache === 'unsafe',
});

/** Of a drive, whether it holds something or not. */
export function frontLines({ qdev, removable, tray }: BlockInfo): string[] {
  const state = `${tray?.locked ? '' : 'not '}locked, tray ${tray?.open ? 'open' : 'closed'}`;
  return [
    `Attached to: ${qdev ?? 'nothing'}`,
    ...(removable ? [`Removable device: ${state}`] : []),
  ];
}

/** What its driver says of it, and of a disk what is in front. */
export function detailLines(disk: Disk): string[] {
  const { drive, node } = disk;
  const own = Object.entries(node.details).filter(([name]) => name !== 'filename');
  const lines = own.map(([name, value]) => `${name}: ${value}`);
  if (!drive) return lines;
  const throttle = Object.entries({ ...limits(disk), group: drive.throttle?.group });
  const { direct } = cacheOf(disk);
  return [
    ...frontLines(drive),
    `Cache mode: ${drive.cache}${direct ? ', direct' : ''}`,
    ...(drive['io-status'] === 'ok' ? [] : [`I/O status: ${drive['io-status']}`]),
    ...(drive.throttle
      ? [`I/O throttling: ${throttle.map(([name, value]) => `${name}=${value}`).join(' ')}`]
      : []),
    ...lines,
  ];
}

export const childLines = ({ node: { children } }: Disk) =>
  children.map(({ child, 'node-name': name }) => `${child}: ${name}`);

export const bitmapLines = ({ node: { bitmaps } }: Disk) =>
  bitmaps.map(
    ({ name, count, granularity, recording, busy }) =>
      `dirty bitmap '${name}': ${count} bytes in pieces of ` +
      `${granularity}${recording ? '' : ', disabled'}${busy ? ', busy' : ''}`,
  );

export const nodeAnswer = of.answer('BlockDeviceInfo', {
  'node-name': of.fact(str(), ({ node }) => node['node-name']),
  drv: of.fact(str(), ({ node }) => node.drv),
  file: of.fact(str(), ({ node }) => node.filename),
  ro: of.fact(bool(), ({ node }) => node.ro),
  encrypted: of.fact(bool(), () => false),
  backing_file_depth: of.fact(int(), ({ node }) => node.backingDepth),
  detect_zeroes: of.fact(
    oneOf(['off', 'on', 'unmap'], '', { name: 'BlockdevDetectZeroesOptions' }),
    ({ node }) => (node.detectZeroes ? 'on' : 'off'),
  ),
  ...rates,
  ...bursts,
  iops_size: of.fact(optional(int()), disk => limits(disk)?.['iops_size']),
  group: of.fact(optional(str()), ({ drive }) => drive?.throttle?.group),
  cache: of.fact(
    struct('BlockdevCacheInfo', { writeback: bool(), direct: bool(), 'no-flush': bool() }),
    cacheOf,
  ),
  write_threshold: of.fact(int(), () => 0),
  image: of.fact(
    struct('ImageInfo', { filename: str(), format: str(), 'virtual-size': int() }),
    ({ node }) => ({ filename: node.filename, format: node.drv, 'virtual-size': node.length }),
  ),
  'dirty-bitmaps': of.fact(
    optional(
      list(
        struct('BlockDirtyInfo', {
          name: str(),
          count: int(),
          granularity: int(),
          recording: bool(),
          busy: bool(),
          persistent: bool(),
        }),
      ),
    ),
    ({ node: { bitmaps } }) =>
      bitmaps.length === 0 ? undefined : bitmaps.map(one => ({ ...one, persistent: false })),
  ),
  details: of.fact(list(str()), disk => [...detailLines(disk), ...childLines(disk)]),
});

const ofDrive = answersOf<BlockInfo>();
export const driveAnswer = ofDrive.answer('BlockInfo', {
  device: ofDrive.fact(str(), drive => drive.device),
  qdev: ofDrive.fact(optional(str()), drive => drive.qdev),
  type: ofDrive.fact(str(), () => 'unknown'),
  removable: ofDrive.fact(bool(), drive => drive.removable),
  locked: ofDrive.fact(bool(), drive => drive.tray?.locked ?? false),
  tray_open: ofDrive.fact(optional(bool()), drive => drive.tray?.open),
  'io-status': ofDrive.fact(
    optional(oneOf(['ok', 'failed', 'nospace'], '', { name: 'BlockDeviceIoStatus' })),
    drive => drive['io-status'],
  ),
  inserted: ofDrive.fact(optional(nodeAnswer.type), drive => {
    const disk = diskOf(drive);
    return disk && nodeAnswer.from(disk);
  }),
});
