/**
 * The table of internal snapshots: listed, and kept as they are. Their L1 tables are checked before
 * anything is written.
 */
import { VmError } from '../../../base/errors.js';
import type { BlockNode } from '../../contract/node.js';
import { MAX_L1_BYTES, type Qcow2Header, readOffset } from './header.js';

export interface Snapshot {
  id: string;
  name: string;
  l1Offset: number;
  l1Entries: number;
  dateSeconds: number;
  dateNanoseconds: number;
  vmClockNs: bigint;
  vmStateBytes: number;
  diskBytes: number;
}

const FIXED = 40;
const MAX_TABLE_BYTES = 64 * 1024 * 1024;
const MAX_EXTRA = 1024;
/** Of all snapshots together, because a writer keeps their clusters in memory. */
const MAX_L1_BYTES_TOGETHER = 256 * 1024 * 1024;

/** Also how many bytes the table has. */
export async function readSnapshots(
  file: BlockNode,
  header: Qcow2Header,
): Promise<{ list: Snapshot[]; bytes: number }> {
  const list: Snapshot[] = [];
  let at = header.snapshotsOffset;
  let l1Bytes = 0;
  const take = async (length: number, what: string) => {
    if (at + length > file.length)
      throw new VmError(
        `qcow2: snapshot ${list.length}: its ${what} reaches beyond the end of the file`,
      );
    if (at + length - header.snapshotsOffset > MAX_TABLE_BYTES)
      throw new VmError('qcow2: the snapshot table is longer than 64 MiB');
    const data = await file.pread(at, length);
    at += length;
    return data;
  };
  for (let n = 0; n < header.snapshots; n++) {
    const fixed = await take(FIXED, 'entry');
    const extraBytes = fixed.readUInt32BE(36);
    if (extraBytes > MAX_EXTRA)
      throw new VmError(
        `qcow2: snapshot ${n}: extra_data_size is ${extraBytes}, it must be at most ${MAX_EXTRA}`,
      );
    const extra = await take(extraBytes, 'extra data');
    const idBytes = fixed.readUInt16BE(12);
    const id = await take(idBytes, 'id');
    const name = await take(fixed.readUInt16BE(14), 'name');
    at = header.snapshotsOffset + Math.ceil((at - header.snapshotsOffset) / 8) * 8;
    const snapshot: Snapshot = {
      id: id.toString('utf8'),
      name: name.toString('utf8'),
      l1Offset: readOffset(fixed, 0, `l1_table_offset of snapshot ${n}`),
      l1Entries: fixed.readUInt32BE(8),
      dateSeconds: fixed.readUInt32BE(16),
      dateNanoseconds: fixed.readUInt32BE(20),
      vmClockNs: fixed.readBigUInt64BE(24),
      vmStateBytes:
        extraBytes >= 8
          ? readOffset(extra, 0, `vm_state_size of snapshot ${n}`)
          : fixed.readUInt32BE(32),
      diskBytes:
        extraBytes >= 16 ? readOffset(extra, 8, `disk size of snapshot ${n}`) : header.size,
    };
    const { l1Offset, l1Entries } = snapshot;
    if (l1Entries * 8 > MAX_L1_BYTES)
      throw new VmError(
        `qcow2: snapshot ${n}: l1_size is ${l1Entries}, the table would be longer than 32 MiB`,
      );
    if (l1Offset % header.clusterSize !== 0 || l1Offset + l1Entries * 8 > file.length)
      throw new VmError(
        `qcow2: snapshot ${n}: l1_table_offset is 0x${l1Offset.toString(16)}, which is not in ` +
          'the file',
      );
    l1Bytes += l1Entries * 8;
    if (l1Bytes > MAX_L1_BYTES_TOGETHER)
      throw new VmError(
        `qcow2: snapshot ${n}: l1_size is ${l1Entries}, the L1 tables of all snapshots would ` +
          'be longer than 256 MiB',
      );
    list.push(snapshot);
  }
  return { list, bytes: at - header.snapshotsOffset };
}
