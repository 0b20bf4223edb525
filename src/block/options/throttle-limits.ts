/**
 * The limits of a drive in QEMU's words: `throttling.bps-total`, `-max`, `-max-length` and so on,
 * and the same of block_set_io_throttle.
 */
import { VmError } from '../../base/errors.js';
import type { OptionTree } from './option-tree.js';

export const bucketNames = [
  'bps-total',
  'bps-read',
  'bps-write',
  'iops-total',
  'iops-read',
  'iops-write',
] as const;
export type BucketName = (typeof bucketNames)[number];

export interface Limit {
  /** Units a second; 0: no limit. */
  avg: number;
  /** Units a second in a burst; 0: a tenth of a second's worth at once, no more. */
  max: number;
  /** Seconds that a burst at max may last. */
  length: number;
}
export interface ThrottleLimits {
  buckets: Readonly<Record<BucketName, Limit>>;
  /** A request of more bytes counts as several; 0: each as one. */
  iopsSize: number;
}

const MOST = 1e15;

export function makeLimits(of: (name: BucketName) => Partial<Limit>, iopsSize = 0): ThrottleLimits {
  const limit = (name: BucketName): Limit => ({ avg: 0, max: 0, length: 1, ...of(name) });
  const buckets = Object.fromEntries(bucketNames.map(name => [name, limit(name)])) as Record<
    BucketName,
    Limit
  >;
  const limits = { buckets, iopsSize };
  checkLimits(limits);
  return limits;
}

export const isLimited = ({ buckets }: ThrottleLimits): boolean =>
  bucketNames.some(name => buckets[name].avg > 0);

export function checkLimits({ buckets, iopsSize }: ThrottleLimits): void {
  for (const kind of ['bps', 'iops'] as const) {
    const [total, read, write] = [
      buckets[`${kind}-total`],
      buckets[`${kind}-read`],
      buckets[`${kind}-write`],
    ];
    for (const field of ['avg', 'max'] as const) {
      if (total[field] > 0 && read[field] + write[field] > 0)
        throw new VmError(
          'bps/iops/max total values and read/write values cannot be used at the same time',
        );
    }
  }
  for (const name of bucketNames) {
    const { avg, max, length } = buckets[name];
    if (![avg, max].every(n => Number.isFinite(n) && n >= 0 && n <= MOST))
      throw new VmError(`bps/iops/max values must be within [0, ${MOST}]`);
    if (max > 0 && avg === 0)
      throw new VmError('bps_max/iops_max require corresponding bps/iops values');
    if (max > 0 && max < avg) throw new VmError('bps_max/iops_max cannot be lower than bps/iops');
    if (length < 1) throw new VmError('the burst length cannot be 0');
    if (length > 1 && max === 0) throw new VmError('burst length set without burst rate');
    if (max * length > Number.MAX_SAFE_INTEGER)
      throw new VmError('burst length too high for this burst rate');
  }
  if (iopsSize > 0 && !bucketNames.some(name => name.startsWith('iops') && buckets[name].avg > 0))
    throw new VmError('iops size requires an iops value to be set');
}

/** As -drive called them before: `bps`, `iops_rd_max`, `bps_wr_max_length`. */
function readOldNames(options: OptionTree): void {
  const kinds = { '': 'total', _rd: 'read', _wr: 'write' } as const;
  for (const unit of ['bps', 'iops'])
    for (const [suffix, kind] of Object.entries(kinds))
      for (const [more, field] of [
        ['', ''],
        ['_max', '-max'],
        ['_max_length', '-max-length'],
      ])
        options.alias(`${unit}${suffix}${more}`, 'throttling', `${unit}-${kind}${field}`);
  options.alias('iops_size', 'throttling', 'iops-size');
  options.alias('group', 'throttling', 'group');
}

/**
 * What stands below `throttling.`; undefined where nothing does. group: drives of one group share
 * one budget.
 */
export function readThrottling(
  options: OptionTree,
): { limits: ThrottleLimits; group?: string } | undefined {
  readOldNames(options);
  const tree = options.sub('throttling');
  if (!tree) return undefined;
  const limits = makeLimits(
    name => ({
      avg: tree.integer(name, 0, MOST) ?? 0,
      max: tree.integer(`${name}-max`, 0, MOST) ?? 0,
      length: tree.integer(`${name}-max-length`, 0, 2 ** 32 - 1) ?? 1,
    }),
    tree.integer('iops-size', 0, MOST) ?? 0,
  );
  const group = tree.string('group');
  tree.end();
  return { limits, group };
}
