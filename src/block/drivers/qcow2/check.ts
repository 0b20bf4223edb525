/**
 * Consistency of an image, as `qemu-img check` sees it: what the tables refer to against the
 * refcounts. Repair makes the refcounts right.
 */
import { asVmError, VmError } from '../../../base/errors.js';
import type { BlockNode } from '../../contract/node.js';
import { readBitmaps, useOfBitmaps } from './bitmaps.js';
import { type Cluster, readCluster, readPointer, setCopied } from './entries.js';
import { Incompatible, type Qcow2Header } from './header.js';
import { Metadata } from './metadata.js';
import { readSnapshots } from './snapshots.js';

export interface CheckResult {
  corruptions: number;
  leaks: number;
  /**
   * Clusters of the disk, how many of them the image holds, and how many of those are compressed.
   */
  allocated: number;
  total: number;
  compressed: number;
  /** Allocated clusters that do not follow the one before. */
  fragmented: number;
  imageEnd: number;
  corruptionsFixed: number;
  leaksFixed: number;
  /** Sentences about the errors, limited in number. */
  messages: string[];
}

export type Repair = 'none' | 'leaks' | 'all';
type Progress = (done: number, total: number) => void;

const MAX_MESSAGES = 100;

/** What one check shares: the counts of references, and what was found. */
class Check {
  readonly counts = new Map<number, number>();
  readonly result: CheckResult;
  /** Where the next allocated cluster stands if the image is not fragmented. */
  next?: number;

  constructor(
    readonly file: BlockNode,
    readonly header: Qcow2Header,
    readonly repair: Repair,
  ) {
    this.result = {
      corruptions: 0,
      leaks: 0,
      allocated: 0,
      total: Math.ceil(header.size / header.clusterSize),
      compressed: 0,
      fragmented: 0,
      imageEnd: 0,
      corruptionsFixed: 0,
      leaksFixed: 0,
      messages: [],
    };
  }

  say(text: string): void {
    if (this.result.messages.length < MAX_MESSAGES) this.result.messages.push(text);
  }

  corrupt(text: string, fixed = false): void {
    this.result[fixed ? 'corruptionsFixed' : 'corruptions']++;
    this.say(`ERROR ${text}`);
  }

  readonly refer = (offset: number, bytes: number, what: string, times = 1): void => {
    const { clusterSize } = this.header;
    if (offset >= this.file.length)
      return this.corrupt(`${what} at 0x${offset.toString(16)} is beyond the end of the file`);
    const end = Math.min(offset + bytes, Math.ceil(this.file.length / clusterSize) * clusterSize);
    for (let c = Math.floor(offset / clusterSize); c * clusterSize < end; c++)
      this.counts.set(c, (this.counts.get(c) ?? 0) + times);
  };
}

export async function checkQcow2(
  file: BlockNode,
  header: Qcow2Header,
  repair: Repair = 'none',
  progress: Progress = () => undefined,
): Promise<CheckResult> {
  const { clusterSize } = header;
  const check = new Check(file, header, repair);
  const { refer, result } = check;
  const { list, bytes } = await readSnapshots(file, header);
  const metadata = await Metadata.open(file, header, {
    snapshots: list,
    readOnly: false,
    overlapping: true,
  }).catch((error: unknown) => {
    throw asVmError(error).during('the tables cannot be read');
  });
  if (metadata.overlap !== undefined) check.corrupt(metadata.overlap);
  if (metadata.overlap !== undefined && repair !== 'none')
    throw new VmError(`the image cannot be repaired: ${metadata.overlap}`, {
      hint: 'What it holds can still be read: `colo image convert` makes a new image of it.',
    });
  refer(0, 1, 'header');
  const active: Tables = new Map();
  await countL1(check, header.l1Offset, header.l1Entries, active);
  await countTables(check, active, cluster => countActive(check, cluster));
  if (bytes > 0) refer(header.snapshotsOffset, bytes, 'snapshot table');
  const kept: Tables = new Map();
  for (const { l1Offset, l1Entries } of list) await countL1(check, l1Offset, l1Entries, kept);
  await countTables(check, kept);
  await useOfBitmaps(file, header, await readBitmaps(file, header), refer);
  refer(header.refcountTableOffset, header.refcountTableClusters * clusterSize, 'refcount table');
  for (let index = 0, used = metadata.refcounts.usedEntries; index < used; index++) {
    const offset = metadata.refcounts.blockOffset(index);
    if (offset !== 0) refer(offset, 1, `refcount block ${index}`);
  }
  await compare(check, metadata, progress);
  await checkCopied(check, metadata);
  if (
    repair === 'all' &&
    result.corruptions === 0 &&
    header.incompatible & (Incompatible.DIRTY | Incompatible.CORRUPT)
  ) {
    header.incompatible &= ~(Incompatible.DIRTY | Incompatible.CORRUPT);
    await metadata.writeIncompatible();
  }
  return result;
}

/**
 * L2 tables, and how many L1 entries lead to each: a table is read once, whatever an image makes
 * point at it.
 */
type Tables = Map<number, number>;

/** The L2 tables of an L1 table. */
async function countL1(
  check: Check,
  l1Offset: number,
  entries: number,
  tables: Tables,
): Promise<void> {
  const { file, header, refer } = check;
  const { clusterSize } = header;
  if (entries === 0) return;
  refer(l1Offset, entries * 8, 'L1 table');
  const l1 = await file.pread(
    l1Offset,
    Math.min(Math.ceil((entries * 8) / 512) * 512, file.length - l1Offset),
  );
  for (let index = 0; index < entries; index++) {
    const { offset } = readPointer(l1, index);
    if (offset === 0) continue;
    if (offset % clusterSize === 0 && offset + clusterSize <= file.length)
      tables.set(offset, (tables.get(offset) ?? 0) + 1);
    else
      check.corrupt(
        `L1 entry ${index}: L2 table at 0x${offset.toString(16)} is not in the file or not aligned`,
      );
  }
}

/** Every cluster in the tables. each: once for each entry of the table. */
async function countTables(
  check: Check,
  tables: Tables,
  each?: (cluster: Cluster) => void,
): Promise<void> {
  const { file, header, refer } = check;
  const { clusterSize, clusterBits, version } = header;
  for (const [offset, times] of tables) {
    refer(offset, 1, 'L2 table', times);
    const table = await file.pread(offset, clusterSize);
    for (let n = 0; n < clusterSize / 8; n++) {
      const found = readCluster(table, n, clusterBits, version);
      if (found.offset === 0) continue;
      if (found.kind !== 'compressed' && found.offset % clusterSize !== 0) {
        check.corrupt(
          `L2 entry ${n} of table 0x${offset.toString(16)}: 0x${found.offset.toString(16)} is ` +
            'not aligned',
        );
        continue;
      }
      refer(found.offset, found.kind === 'compressed' ? found.bytes : 1, 'cluster', times);
      each?.(found);
    }
  }
}

function countActive(check: Check, { kind, offset }: Cluster): void {
  const { result, header } = check;
  result.allocated++;
  if (kind === 'compressed') result.compressed++;
  if (check.next !== undefined && offset !== check.next) result.fragmented++;
  check.next = offset + header.clusterSize;
}

/**
 * Block by block: where there is none, and nothing is referred to, there is nothing to look at,
 * however long the file.
 */
async function compare(check: Check, metadata: Metadata, progress: Progress): Promise<void> {
  const { counts, file, header, repair, result } = check;
  const { refcounts } = metadata;
  const clusters = Math.ceil(file.length / header.clusterSize);
  if (repair !== 'none') metadata.fix(counts.keys());
  const blocks = new Set<number>();
  for (let index = 0, used = refcounts.usedEntries; index < used; index++)
    if (refcounts.blockOffset(index) !== 0) blocks.add(index);
  for (const cluster of counts.keys()) blocks.add(Math.floor(cluster / refcounts.perBlock));
  for (const index of [...blocks].sort((a, b) => a - b)) {
    const first = index * refcounts.perBlock;
    progress(Math.min(first, clusters), clusters);
    const counted = await refcounts.block(index);
    for (let cluster = first; cluster < Math.min(first + refcounts.perBlock, clusters); cluster++) {
      // A repair changes counts as it goes.
      const found = repair === 'none' ? counted(cluster) : await refcounts.get(cluster);
      // A refcount block that the repair has made is in no table that was walked.
      const wanted = counts.get(cluster) ?? (metadata.isFixed(cluster) ? 1 : 0);
      if (found > 0 || wanted > 0) result.imageEnd = (cluster + 1) * header.clusterSize;
      if (found !== wanted) await repairCount(check, metadata, { cluster, found, wanted });
    }
  }
  progress(clusters, clusters);
  if (result.leaksFixed + result.corruptionsFixed > 0) await metadata.commit();
}

async function repairCount(
  check: Check,
  { refcounts }: Metadata,
  { cluster, found, wanted }: { cluster: number; found: number; wanted: number },
): Promise<void> {
  const { header, repair, result } = check;
  const leak = found > wanted;
  const fix = repair === 'all' || (repair === 'leaks' && leak);
  if (fix) {
    if (wanted > refcounts.max)
      throw new VmError(
        `cluster ${cluster}: ${wanted} references do not fit ${header.refcountBits} bits`,
      );
    await refcounts.set(cluster, wanted);
    if (refcounts.blocks.crowded) await refcounts.blocks.writeBack();
  }
  const text = `cluster ${cluster} refcount=${found} reference=${wanted}`;
  if (!leak) return check.corrupt(text, fix);
  result[fix ? 'leaksFixed' : 'leaks']++;
  check.say(`Leaked ${text}`);
}

/**
 * COPIED says that the refcount is exactly one. A wrong flag allows a write into clusters of a
 * snapshot.
 */
async function checkCopied(check: Check, metadata: Metadata): Promise<void> {
  const { file, header, repair } = check;
  const { clusterSize, clusterBits, version } = header;
  const wrong = async (copied: boolean, offset: number, where: string) => {
    const count = await metadata.refcounts.get(Math.floor(offset / clusterSize));
    if (copied === (count === 1)) return false;
    check.corrupt(
      `${where}: the copied flag is ${copied}, the refcount ${count}`,
      repair === 'all',
    );
    return repair === 'all';
  };
  const l1 =
    header.l1Entries > 0
      ? await file.pread(header.l1Offset, header.l1Entries * 8)
      : Buffer.alloc(0);
  let l1Changed = false;
  const seen = new Set<number>();
  for (let index = 0; index < header.l1Entries; index++) {
    const { offset, copied } = readPointer(l1, index);
    if (offset === 0 || offset % clusterSize !== 0 || offset + clusterSize > file.length) continue;
    if (await wrong(copied, offset, `L1 entry ${index}`)) {
      setCopied(l1, index, !copied);
      l1Changed = true;
    }
    if (seen.has(offset)) continue;
    seen.add(offset);
    const table = await file.pread(offset, clusterSize);
    let changed = false;
    for (let n = 0; n < clusterSize / 8; n++) {
      const found = readCluster(table, n, clusterBits, version);
      if (
        found.offset === 0 ||
        found.kind === 'compressed' ||
        found.offset % clusterSize !== 0 ||
        found.offset >= file.length
      )
        continue;
      if (
        !(await wrong(
          found.copied,
          found.offset,
          `L2 entry ${n} of table 0x${offset.toString(16)}`,
        ))
      )
        continue;
      setCopied(table, n, !found.copied);
      changed = true;
    }
    if (changed) await file.pwrite(offset, table);
  }
  if (l1Changed) await file.pwrite(header.l1Offset, l1);
  if (repair === 'all') await file.flush();
}
