/** Consistency of an image, as `qemu-img check` sees it: what the tables refer to against the refcounts. Repair makes the refcounts right. */
import { asVmError, VmError } from '../../../base/errors.js';
import type { BlockNode } from '../../node.js';
import { readCluster, readPointer } from './entries.js';
import { Incompatible, type Qcow2Header } from './header.js';
import { Metadata } from './metadata.js';
import { readSnapshots } from './snapshots.js';

export interface CheckResult {
  corruptions: number;
  leaks: number;
  /** Clusters of the disk that the image holds, of so many; compressed ones among them. */
  allocated: number;
  total: number;
  compressed: number;
  /** Allocated clusters that do not follow the one before. */
  fragmented: number;
  imageEnd: number;
  corruptionsFixed: number;
  leaksFixed: number;
  /** In words, at most so many. */
  messages: string[];
}

const MAX_MESSAGES = 100;

class Counter {
  readonly counts = new Map<number, number>();
  constructor(
    private readonly clusterSize: number,
    private readonly file: BlockNode,
    private readonly complain: (text: string) => void,
  ) {}
  add(offset: number, bytes: number, what: string): void {
    if (offset >= this.file.length) return this.complain(`${what} at 0x${offset.toString(16)} is beyond the end of the file`);
    for (let c = Math.floor(offset / this.clusterSize); c * this.clusterSize < offset + bytes; c++) this.counts.set(c, (this.counts.get(c) ?? 0) + 1);
  }
}

export type Repair = 'none' | 'leaks' | 'all';

export async function checkQcow2(file: BlockNode, header: Qcow2Header, repair: Repair = 'none', progress: (done: number, total: number) => void = () => undefined): Promise<CheckResult> {
  const { clusterSize, size } = header;
  const result: CheckResult = { corruptions: 0, leaks: 0, allocated: 0, total: Math.ceil(size / clusterSize), compressed: 0, fragmented: 0, imageEnd: 0, corruptionsFixed: 0, leaksFixed: 0, messages: [] };
  const say = (text: string) => {
    if (result.messages.length < MAX_MESSAGES) result.messages.push(text);
  };
  const corrupt = (text: string) => {
    result.corruptions++;
    say(`ERROR ${text}`);
  };
  const counter = new Counter(clusterSize, file, corrupt);
  const metadata = await Metadata.open(file, header, []).catch((error: unknown) => {
    throw asVmError(error).during('the tables cannot be read');
  });
  counter.add(0, 1, 'header');
  await countL1(file, header, header.l1Offset, header.l1Entries, counter, corrupt, { result, metadata });
  const { list, bytes } = await readSnapshots(file, header);
  if (bytes > 0) counter.add(header.snapshotsOffset, bytes, 'snapshot table');
  for (const snapshot of list) await countL1(file, header, snapshot.l1Offset, snapshot.l1Entries, counter, corrupt);
  counter.add(header.refcountTableOffset, header.refcountTableClusters * clusterSize, 'refcount table');
  for (let index = 0; index < metadata.refcounts.tableEntries; index++) {
    const offset = metadata.refcounts.blockOffset(index);
    if (offset !== 0) counter.add(offset, 1, `refcount block ${index}`);
  }
  await compare(file, metadata, counter.counts, result, say, repair, progress);
  return result;
}

async function countL1(file: BlockNode, header: Qcow2Header, l1Offset: number, entries: number, counter: Counter, corrupt: (text: string) => void, active?: { result: CheckResult; metadata: Metadata }): Promise<void> {
  const { clusterSize, clusterBits, version } = header;
  if (entries === 0) return;
  counter.add(l1Offset, entries * 8, 'L1 table');
  const l1 = await file.pread(l1Offset, Math.min(Math.ceil((entries * 8) / 512) * 512, file.length - l1Offset));
  let next = -1;
  for (let index = 0; index < entries; index++) {
    const { offset, copied } = readPointer(l1, index);
    if (offset === 0) continue;
    if (offset % clusterSize !== 0 || offset + clusterSize > file.length) {
      corrupt(`L1 entry ${index}: L2 table at 0x${offset.toString(16)} is not in the file or not aligned`);
      continue;
    }
    counter.add(offset, 1, 'L2 table');
    const count = await active?.metadata.refcounts.get(offset / clusterSize);
    if (count !== undefined && copied !== (count === 1)) corrupt(`L1 entry ${index}: the copied flag is ${copied}, the refcount ${count}`);
    const table = await file.pread(offset, clusterSize);
    for (let n = 0; n < clusterSize / 8; n++) {
      const found = readCluster(table, n, clusterBits, version);
      if (found.offset === 0) continue;
      if (found.kind !== 'compressed' && found.offset % clusterSize !== 0) {
        corrupt(`L2 entry ${n} of table 0x${offset.toString(16)}: 0x${found.offset.toString(16)} is not aligned`);
        continue;
      }
      counter.add(found.offset, found.kind === 'compressed' ? found.bytes : 1, 'cluster');
      if (!active) continue;
      const { result } = active;
      const refs = await active.metadata.refcounts.get(Math.floor(found.offset / clusterSize));
      if (found.kind !== 'compressed' && found.copied !== (refs === 1)) corrupt(`L2 entry ${n} of table 0x${offset.toString(16)}: the copied flag is ${found.copied}, the refcount ${refs}`);
      result.allocated++;
      if (found.kind === 'compressed') result.compressed++;
      if (next >= 0 && found.offset !== next) result.fragmented++;
      next = found.offset + clusterSize;
    }
  }
}

async function compare(file: BlockNode, metadata: Metadata, counts: Map<number, number>, result: CheckResult, say: (text: string) => void, repair: Repair, progress: (done: number, total: number) => void): Promise<void> {
  const { refcounts, header } = metadata;
  const clusters = Math.ceil(file.length / header.clusterSize);
  let changed = false;
  if (repair !== 'none') metadata.fix(counts.keys());
  for (let cluster = 0; cluster < clusters; cluster++) {
    if (cluster % 4096 === 0) progress(cluster, clusters);
    // A refcount block that the repair has made is in no table that was walked.
    const wanted = counts.get(cluster) ?? (metadata.isFixed(cluster) ? 1 : 0);
    const found = await refcounts.get(cluster);
    if (found > 0 || wanted > 0) result.imageEnd = (cluster + 1) * header.clusterSize;
    if (found === wanted) continue;
    const leak = found > wanted;
    say(`${leak ? 'Leaked cluster' : 'ERROR cluster'} ${cluster} refcount=${found} reference=${wanted}`);
    const fix = repair === 'all' || (repair === 'leaks' && leak);
    if (fix) {
      if (wanted > refcounts.max) throw new VmError(`cluster ${cluster}: ${wanted} references do not fit ${header.refcountBits} bits`);
      await refcounts.set(cluster, wanted);
      if (refcounts.blocks.crowded) await refcounts.blocks.writeBack();
      changed = true;
    }
    if (leak) result[fix ? 'leaksFixed' : 'leaks']++;
    else result[fix ? 'corruptionsFixed' : 'corruptions']++;
  }
  progress(clusters, clusters);
  if (changed) await metadata.commit();
  if (repair === 'all' && result.corruptions === 0 && header.incompatible & (Incompatible.DIRTY | Incompatible.CORRUPT)) {
    header.incompatible &= ~(Incompatible.DIRTY | Incompatible.CORRUPT);
    await metadata.writeIncompatible();
  }
}
