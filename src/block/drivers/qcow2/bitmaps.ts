/**
 * Persistent dirty bitmaps (QEMU docs/interop/qcow2). They are kept as they are and not brought up
 * to date: the first write sets their in_use flag, which tells everyone after us that they no
 * longer follow the disk. Their clusters are never given away.
 */
import { VmError } from '../../../base/errors.js';
import { or32 } from '../../../base/unsigned.js';
import type { BlockNode } from '../../contract/node.js';
import { readPointer } from './entries.js';
import { type Qcow2Header, readOffset } from './header.js';

export interface Bitmap {
  name: string;
  tableOffset: number;
  tableEntries: number;
}
export interface Bitmaps {
  list: Bitmap[];
  directory: Buffer;
  directoryOffset: number;
  /** Where in the directory the flags of each stand. */
  flagsAt: number[];
}
/** Called with a range of the file that is in use, and with what uses it. */
export type Use = (offset: number, bytes: number, what: string) => void;

const FIXED = 24;
const IN_USE = 1;
const MAX_DIRECTORY_BYTES = 64 * 1024 * 1024;
/** Of all bitmaps together: their clusters are known one by one. */
const MAX_TABLE_ENTRIES = 2 ** 21;

const none: Bitmaps = { list: [], directory: Buffer.alloc(0), directoryOffset: 0, flagsAt: [] };

/**
 * Without the autoclear bit the extension is void: a program that does not know bitmaps has written
 * the image.
 */
export async function readBitmaps(file: BlockNode, header: Qcow2Header): Promise<Bitmaps> {
  const extension = header.bitmaps;
  if (!extension || !header.autoclear.bitmaps) return none;
  const { count, offset, bytes } = extension;
  const bad = (text: string) => new VmError(`qcow2: bitmap directory: ${text}`);
  if (bytes > MAX_DIRECTORY_BYTES)
    throw bad(`bitmap_directory_size is ${bytes}, it must be at most 64 MiB`);
  if (offset === 0 || offset % header.clusterSize !== 0 || offset + bytes > file.length)
    throw bad(
      `bitmap_directory_offset is 0x${offset.toString(16)}, which is not in the file or not ` +
        'aligned',
    );
  const directory = await file.pread(offset, bytes);
  const list: Bitmap[] = [];
  const flagsAt: number[] = [];
  let entries = 0;
  for (let at = 0; list.length < count;) {
    if (at + FIXED > bytes)
      throw bad(`bitmap ${list.length} of ${count} is not in its ${bytes} bytes`);
    const nameBytes = directory.readUInt16BE(at + 18);
    const nameAt = at + FIXED + directory.readUInt32BE(at + 20);
    if (nameAt + nameBytes > bytes)
      throw bad(`bitmap ${list.length}: its name is not in its ${bytes} bytes`);
    const bitmap = {
      name: directory.toString('utf8', nameAt, nameAt + nameBytes),
      tableOffset: readOffset(directory, at, 'bitmap_table_offset'),
      tableEntries: directory.readUInt32BE(at + 8),
    };
    const { tableOffset, tableEntries } = bitmap;
    if (tableOffset % header.clusterSize !== 0 || tableOffset + tableEntries * 8 > file.length)
      throw bad(
        `bitmap_table_offset of '${bitmap.name}' is 0x${tableOffset.toString(16)}, which is ` +
          'not in the file or not aligned',
      );
    entries += tableEntries;
    if (entries > MAX_TABLE_ENTRIES)
      throw bad(
        `bitmap_table_size of '${bitmap.name}' is ${tableEntries}: the tables together are ` +
          `longer than ${MAX_TABLE_ENTRIES} entries`,
      );
    list.push(bitmap);
    flagsAt.push(at + 12);
    at = Math.ceil((nameAt + nameBytes) / 8) * 8;
  }
  return { list, directory, directoryOffset: offset, flagsAt };
}

/** Names of the bitmaps that record changes: a write that does not update them makes them wrong. */
export function liveBitmaps({ list, directory, flagsAt }: Bitmaps): string[] {
  return list
    .filter((_, n) => (directory.readUInt32BE(flagsAt[n]) & IN_USE) === 0)
    .map(({ name }) => name);
}

/**
 * Every range of the file that the bitmaps hold: the directory, the tables, what the tables point
 * at.
 */
export async function useOfBitmaps(
  file: BlockNode,
  header: Qcow2Header,
  bitmaps: Bitmaps,
  use: Use,
): Promise<void> {
  if (bitmaps.directory.length > 0)
    use(bitmaps.directoryOffset, bitmaps.directory.length, 'bitmap directory');
  for (const { name, tableOffset, tableEntries } of bitmaps.list) {
    use(tableOffset, tableEntries * 8, `table of bitmap '${name}'`);
    const perRead = header.clusterSize / 8;
    for (let first = 0; first < tableEntries; first += perRead) {
      const entries = Math.min(perRead, tableEntries - first);
      const table = await file.pread(tableOffset + first * 8, entries * 8);
      for (let n = 0; n < entries; n++) {
        const { offset } = readPointer(table, n);
        if (offset !== 0) use(offset, header.clusterSize, `bitmap '${name}'`);
      }
    }
  }
}

/** Durable before the write that makes them stale. */
export async function markInUse(
  file: BlockNode,
  { directory, directoryOffset, flagsAt }: Bitmaps,
): Promise<void> {
  const stale = flagsAt.filter(at => (directory.readUInt32BE(at) & IN_USE) === 0);
  if (stale.length === 0) return;
  for (const at of stale) directory.writeUInt32BE(or32(directory.readUInt32BE(at), IN_USE), at);
  await file.pwrite(directoryOffset, directory);
  await file.flush();
}
