/** `-o key=value,...` of `colo image create` and `convert`, as qemu-img has them. */
import { VmError } from '../../base/errors.js';
import { type CreateOptions, defaultCreateOptions } from '../drivers/qcow2/create.js';
import { OptionTree } from '../options/option-tree.js';
import type { Format } from '../image/open.js';
import { type Preallocation, preallocations } from '../image/preallocate.js';

export type GivenOptions = Omit<CreateOptions, 'size'> & {
  size?: number;
  preallocation: Preallocation;
};

export function parseCreateOptions(texts: readonly string[], format: Format): GivenOptions {
  const tree = OptionTree.parse(texts.join(','));
  if (tree.has('encryption') || tree.has('encrypt'))
    throw new VmError("parameter 'encryption': encrypted images are not implemented");
  for (const key of ['data_file', 'data_file_raw', 'extended_l2'])
    if (tree.has(key)) throw new VmError(`parameter '${key}' is not implemented`);
  const preallocation =
    tree.oneOf(
      'preallocation',
      preallocations.filter(how => how !== 'metadata' || format === 'qcow2'),
    ) ?? 'off';
  const given: GivenOptions = { ...defaultCreateOptions, preallocation, size: tree.size('size') };
  if (format === 'qcow2') {
    const compat = tree.oneOf('compat', ['0.10', '1.1', 'v2', 'v3']) ?? '1.1';
    given.version = compat === '0.10' || compat === 'v2' ? 2 : 3;
    given.clusterSize = tree.size('cluster_size') ?? given.clusterSize;
    given.refcountBits = tree.integer('refcount_bits', 1, 64) ?? given.refcountBits;
    given.lazyRefcounts = tree.flag('lazy_refcounts') ?? false;
    given.compression = tree.oneOf('compression_type', ['zlib', 'zstd']) ?? 'zlib';
    given.backingFile = tree.string('backing_file');
    given.backingFormat = tree.string('backing_fmt');
  }
  tree.end(` to format '${format}'`);
  return given;
}
