/** The limits of a drive in the words of block_set_io_throttle; 0: no limit. */
import {
  type BucketName,
  bucketNames,
  makeLimits,
  type ThrottleLimits,
} from '../block/options/throttle-limits.js';

/** `bps`, `bps_rd`, `bps_max`, `bps_max_length`, `iops_size` ... */
type Words = Readonly<Record<string, number | undefined>>;

const words: Readonly<Record<BucketName, string>> = {
  'bps-total': 'bps',
  'bps-read': 'bps_rd',
  'bps-write': 'bps_wr',
  'iops-total': 'iops',
  'iops-read': 'iops_rd',
  'iops-write': 'iops_wr',
};
export const rateWords = bucketNames.map(name => words[name]);
export const burstWords = rateWords.flatMap(word => [`${word}_max`, `${word}_max_length`]);

export const limitsOf = (given: Words): ThrottleLimits =>
  makeLimits(
    bucket => ({
      avg: given[words[bucket]] ?? 0,
      max: given[`${words[bucket]}_max`] ?? 0,
      length: given[`${words[bucket]}_max_length`] ?? 1,
    }),
    given['iops_size'],
  );

/** What is not limited is left out, but for the rates. */
export function wordsOf({ buckets, iopsSize }: ThrottleLimits): Record<string, number> {
  const out: Record<string, number> = {};
  for (const bucket of bucketNames) {
    const { avg, max, length } = buckets[bucket];
    out[words[bucket]] = avg;
    if (max > 0)
      Object.assign(out, {
        [`${words[bucket]}_max`]: max,
        [`${words[bucket]}_max_length`]: length,
      });
  }
  if (iopsSize > 0) out['iops_size'] = iopsSize;
  return out;
}
