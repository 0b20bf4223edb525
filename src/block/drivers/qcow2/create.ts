/** A new, empty qcow2 image: header, refcount table and blocks, L1 table, one behind the other. */
import { VmError } from '../../../base/errors.js';
import type { BlockNode } from '../../contract/node.js';
import { writePointer, writeRefcount } from './entries.js';
import { encodeQcow2Header, Incompatible, MAX_L1_BYTES, type Qcow2Header } from './header.js';

export interface CreateOptions {
  /** Bytes of the disk, a multiple of 512. */
  size: number;
  version: 2 | 3;
  clusterSize: number;
  refcountBits: number;
  lazyRefcounts: boolean;
  compression: 'zlib' | 'zstd';
  backingFile?: string;
  backingFormat?: string;
}

export const defaultCreateOptions = {
  version: 3,
  clusterSize: 65536,
  refcountBits: 16,
  lazyRefcounts: false,
  compression: 'zlib',
} as const;

export async function createQcow2(file: BlockNode, options: CreateOptions): Promise<void> {
  check(options);
  const { clusterSize, size, refcountBits } = options;
  const l1Entries = Math.ceil(size / (clusterSize * (clusterSize / 8)));
  if (l1Entries * 8 > MAX_L1_BYTES)
    throw new VmError(`The image size is too large (try using a larger cluster size)`);
  const perBlock = (clusterSize * 8) / refcountBits;
  const l1Clusters = Math.max(1, Math.ceil((l1Entries * 8) / clusterSize));
  let blocks = 1;
  let tableClusters = 1;
  const total = () => 1 + tableClusters + blocks + l1Clusters;
  for (let before = 0; before !== total();) {
    before = total();
    blocks = Math.ceil(before / perBlock);
    tableClusters = Math.ceil((blocks * 8) / clusterSize);
  }
  const header: Qcow2Header = {
    ...options,
    clusterBits: Math.log2(clusterSize),
    l1Entries,
    l1Offset: (1 + tableClusters + blocks) * clusterSize,
    refcountTableOffset: clusterSize,
    refcountTableClusters: tableClusters,
    snapshots: 0,
    snapshotsOffset: 0,
    incompatible: options.compression === 'zstd' ? Incompatible.COMPRESSION : 0,
    compatible: options.lazyRefcounts ? 1 : 0,
    autoclear: { bitmaps: false, others: false },
  };
  const first = encodeQcow2Header(header);
  await file.resize(0);
  await file.resize(total() * clusterSize);
  const table = Buffer.alloc(tableClusters * clusterSize);
  for (let b = 0; b < blocks; b++) {
    const offset = (1 + tableClusters + b) * clusterSize;
    writePointer(table, b, offset, false);
    const block = Buffer.alloc(clusterSize);
    for (let n = 0; n < perBlock && b * perBlock + n < total(); n++)
      writeRefcount(block, n, refcountBits, 1);
    await file.pwrite(offset, block);
  }
  await file.pwrite(clusterSize, table);
  await file.flush();
  // Last: without it the file is no image.
  await file.pwrite(0, first);
  await file.flush();
}

function check({
  size,
  version,
  clusterSize,
  refcountBits,
  lazyRefcounts,
  compression,
}: CreateOptions): void {
  if (!Number.isSafeInteger(size) || size < 0 || size % 512 !== 0)
    throw new VmError(`size ${size} is not a number of whole sectors`);
  if (!Number.isInteger(Math.log2(clusterSize)) || clusterSize < 512 || clusterSize > 2 ** 21)
    throw new VmError('Cluster size must be a power of two between 512 and 2048k');
  if (!Number.isInteger(Math.log2(refcountBits)) || refcountBits < 1 || refcountBits > 64)
    throw new VmError('Refcount width must be a power of two and may not exceed 64 bits');
  if (version === 2 && refcountBits !== 16)
    throw new VmError(
      'Different refcount widths than 16 bits require compatibility level 1.1 or above (use ' +
        'version=v3 or greater)',
    );
  if (version === 2 && lazyRefcounts)
    throw new VmError(
      'Lazy refcounts only supported with compatibility level 1.1 and above (use version=v3 ' +
        'or greater)',
    );
  if (version === 2 && compression !== 'zlib')
    throw new VmError(
      'Non-zlib compression type is only supported with compatibility level 1.1 and above ' +
        '(use version=v3 or greater)',
    );
}
