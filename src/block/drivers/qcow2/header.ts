/**
 * The header of a qcow2 image, versions 2 and 3 (QEMU docs/interop/qcow2). Untrusted: each field is
 * checked, and the error names it.
 */
import { VmError } from '../../../base/errors.js';
import { printable } from '../../../base/printable.js';

export const QCOW2_MAGIC = 0x5146_49fb;
export const MAX_L1_BYTES = 32 * 1024 * 1024;
export const MAX_REFCOUNT_TABLE_BYTES = 8 * 1024 * 1024;
const MAX_SNAPSHOTS = 65536;
const MAX_BITMAPS = 65535;
const MAX_BACKING_NAME = 1023;
/** Longest disk: what 53 bits of an offset address. */
const MAX_SIZE = 2 ** 52;

/** Incompatible features: who does not know one must not open the image. */
export const Incompatible = {
  DIRTY: 1,
  CORRUPT: 2,
  DATA_FILE: 4,
  COMPRESSION: 8,
  EXTENDED_L2: 16,
} as const;
const refused: readonly [number, string][] = [
  [Incompatible.DATA_FILE, 'external data file'],
  [Incompatible.EXTENDED_L2, 'extended L2 entries'],
];
const known =
  Incompatible.DIRTY |
  Incompatible.CORRUPT |
  Incompatible.DATA_FILE |
  Incompatible.COMPRESSION |
  Incompatible.EXTENDED_L2;

/** Where the fields that change in place stand. */
export const HeaderAt = {
  SIZE: 24,
  L1_SIZE: 36,
  L1_OFFSET: 40,
  REFCOUNT_TABLE: 48,
  INCOMPATIBLE: 72,
  AUTOCLEAR: 88,
} as const;
const Extension = {
  END: 0,
  BACKING_FORMAT: 0xe279_2aca,
  FEATURE_NAMES: 0x6803_f857,
  BITMAPS: 0x2385_2875,
} as const;
const V2_LENGTH = 72;
const V3_LENGTH = 104;

export interface Qcow2Header {
  version: 2 | 3;
  clusterBits: number;
  clusterSize: number;
  /** Bytes of the disk. */
  size: number;
  backingFile?: string;
  backingFormat?: string;
  l1Entries: number;
  l1Offset: number;
  refcountTableOffset: number;
  refcountTableClusters: number;
  snapshots: number;
  snapshotsOffset: number;
  /** Low 32 bits; the high ones must be zero. */
  incompatible: number;
  /** Bit 0: lazy refcounts. */
  compatible: number;
  /**
   * Bit 0, and whether any other bit is set: a writer must clear the bits that it does not know.
   */
  autoclear: { bitmaps: boolean; others: boolean };
  bitmaps?: { count: number; offset: number; bytes: number };
  refcountBits: number;
  compression: 'zlib' | 'zstd';
}

const bad = (field: string, value: number | string, must: string) =>
  new VmError(`qcow2 header: ${field} is ${value}, ${must}`);

/** A u64 that must fit a number. */
export function readOffset(data: Buffer, at: number, field: string): number {
  const value = data.readUInt32BE(at) * 2 ** 32 + data.readUInt32BE(at + 4);
  if (value > Number.MAX_SAFE_INTEGER)
    throw bad(field, `0x${data.toString('hex', at, at + 8)}`, 'which is too large');
  return value;
}

/** In whole sectors it must fit a number too. */
function readSize(first: Buffer): number {
  const size = readOffset(first, HeaderAt.SIZE, 'size');
  if (size > Number.MAX_SAFE_INTEGER - 511) throw bad('size', size, 'which is too large');
  return size;
}

export function writeOffset(data: Buffer, value: number, at: number): void {
  data.writeUInt32BE(Math.floor(value / 2 ** 32), at);
  data.writeUInt32BE(value % 2 ** 32, at + 4);
}

export const isQcow2 = (head: Buffer): boolean =>
  head.length >= 4 && head.readUInt32BE(0) === QCOW2_MAGIC;

/**
 * head: the file's first 104 bytes, or all of it. Gives what is needed to read the rest: how long
 * the first cluster is.
 */
export function clusterBitsOf(head: Buffer): number {
  if (head.length < V2_LENGTH)
    throw new VmError(`qcow2 header: the file ends after ${head.length} bytes`);
  if (!isQcow2(head)) throw bad('magic', `0x${head.toString('hex', 0, 4)}`, 'not that of qcow2');
  const version = head.readUInt32BE(4);
  if (version !== 2 && version !== 3) throw bad('version', version, 'only 2 and 3 are known');
  const bits = head.readUInt32BE(20);
  if (bits < 9 || bits > 21) throw bad('cluster_bits', bits, 'it must be from 9 to 21');
  return bits;
}

/** first: the file's first cluster, as far as it goes. fileLength bounds every offset. */
export function parseHeader(first: Buffer, fileLength: number): Qcow2Header {
  const clusterBits = clusterBitsOf(first);
  const version = first.readUInt32BE(4) as 2 | 3;
  const clusterSize = 2 ** clusterBits;
  if (version === 3 && first.length < V3_LENGTH)
    throw new VmError(`qcow2 header: the file ends after ${first.length} bytes`);
  const headerLength = version === 3 ? first.readUInt32BE(100) : V2_LENGTH;
  if (version === 3 && (headerLength < V3_LENGTH || headerLength > clusterSize))
    throw bad('header_length', headerLength, `it must be from ${V3_LENGTH} to the cluster size`);
  const order = version === 3 ? first.readUInt32BE(96) : 4;
  if (order > 6) throw bad('refcount_order', order, 'it must be at most 6');
  const header: Qcow2Header = {
    version,
    clusterBits,
    clusterSize,
    size: readSize(first),
    l1Entries: first.readUInt32BE(HeaderAt.L1_SIZE),
    l1Offset: readOffset(first, HeaderAt.L1_OFFSET, 'l1_table_offset'),
    refcountTableOffset: readOffset(first, HeaderAt.REFCOUNT_TABLE, 'refcount_table_offset'),
    refcountTableClusters: first.readUInt32BE(56),
    snapshots: first.readUInt32BE(60),
    snapshotsOffset: readOffset(first, 64, 'snapshots_offset'),
    incompatible: version === 3 ? first.readUInt32BE(HeaderAt.INCOMPATIBLE + 4) : 0,
    compatible: version === 3 ? first.readUInt32BE(84) : 0,
    autoclear: version === 3 ? readAutoclear(first) : { bitmaps: false, others: false },
    refcountBits: 2 ** order,
    compression: 'zlib',
  };
  const crypt = first.readUInt32BE(32);
  if (crypt !== 0) throw bad('crypt_method', crypt, 'encrypted images are not implemented');
  const extensionsEnd = readBacking(first, header, headerLength);
  readExtensions(first, header, headerLength, extensionsEnd);
  readCompression(first, header, headerLength);
  checkTables(header, fileLength);
  return header;
}

function readAutoclear(first: Buffer): Qcow2Header['autoclear'] {
  const [high, low] = [
    first.readUInt32BE(HeaderAt.AUTOCLEAR),
    first.readUInt32BE(HeaderAt.AUTOCLEAR + 4),
  ];
  return { bitmaps: (low & 1) !== 0, others: high !== 0 || low > 1 };
}

/** Returns where the extensions must end. */
function readBacking(first: Buffer, header: Qcow2Header, headerLength: number): number {
  const offset = readOffset(first, 8, 'backing_file_offset');
  const length = first.readUInt32BE(16);
  if (offset === 0) return Math.min(first.length, header.clusterSize);
  if (length > MAX_BACKING_NAME)
    throw bad('backing_file_size', length, `it must be at most ${MAX_BACKING_NAME}`);
  if (offset < headerLength || offset + length > Math.min(header.clusterSize, first.length))
    throw bad(
      'backing_file_offset',
      offset,
      'the name must follow the header in the first cluster',
    );
  if (length > 0) header.backingFile = first.toString('utf8', offset, offset + length);
  return offset;
}

function readExtensions(first: Buffer, header: Qcow2Header, start: number, end: number): void {
  const names = new Map<number, string>();
  for (let at = start; at + 8 <= end;) {
    const type = first.readUInt32BE(at);
    const length = first.readUInt32BE(at + 4);
    if (type === Extension.END) break;
    if (length > end - at - 8)
      throw bad(
        'extension length',
        length,
        `it reaches beyond the extensions (type 0x${type.toString(16)})`,
      );
    const data = first.subarray(at + 8, at + 8 + length);
    if (type === Extension.BACKING_FORMAT) header.backingFormat = data.toString('utf8');
    if (type === Extension.BITMAPS) header.bitmaps = readBitmapsExtension(data);
    if (type === Extension.FEATURE_NAMES)
      for (let n = 0; n + 48 <= length; n += 48)
        if (data[n] === 0) names.set(data[n + 1], text(data.subarray(n + 2, n + 48)));
    at += 8 + Math.ceil(length / 8) * 8;
  }
  if (header.version === 2) return;
  if (first.readUInt32BE(HeaderAt.INCOMPATIBLE) !== 0)
    throw bad(
      'incompatible_features',
      `0x${first.toString('hex', 72, 80)}`,
      'which holds unknown features',
    );
  for (const [bit, name] of refused)
    if (header.incompatible & bit)
      throw new VmError(
        `qcow2 header: incompatible_features asks for '${name}', which is not implemented`,
      );
  for (let bit = 0; bit < 32; bit++) {
    if (((header.incompatible & ~known) >>> bit) & 1)
      throw new VmError(
        'qcow2 header: incompatible_features asks for unknown feature ' +
          `'${printable(names.get(bit) ?? `bit ${bit}`)}'`,
      );
  }
}

function readBitmapsExtension(data: Buffer): Qcow2Header['bitmaps'] {
  if (data.length < 24) throw bad('extension length', data.length, 'bitmaps have 24 bytes');
  const count = data.readUInt32BE(0);
  if (count === 0 || count > MAX_BITMAPS)
    throw bad('nb_bitmaps', count, `it must be from 1 to ${MAX_BITMAPS}`);
  return {
    count,
    bytes: readOffset(data, 8, 'bitmap_directory_size'),
    offset: readOffset(data, 16, 'bitmap_directory_offset'),
  };
}

function readCompression(first: Buffer, header: Qcow2Header, headerLength: number): void {
  const type = header.version === 3 && headerLength > V3_LENGTH ? first[V3_LENGTH] : 0;
  if (type > 1) throw bad('compression_type', type, 'only 0 (zlib) and 1 (zstd) are known');
  if ((type !== 0) !== ((header.incompatible & Incompatible.COMPRESSION) !== 0))
    throw bad('compression_type', type, 'which the incompatible feature bit contradicts');
  if (type === 1) header.compression = 'zstd';
}

function checkTables(header: Qcow2Header, fileLength: number): void {
  const { clusterSize, size } = header;
  const table = (field: string, offset: number, bytes: number) => {
    if (offset % clusterSize !== 0) throw bad(field, offset, 'not a multiple of the cluster size');
    if (bytes > 0 && offset === 0) throw bad(field, offset, 'the header is there');
    if (offset + bytes > Math.ceil(fileLength / clusterSize) * clusterSize)
      throw bad(
        field,
        offset,
        `its ${bytes} bytes reach beyond the end of the file, ${fileLength}`,
      );
  };
  if (size > MAX_SIZE) throw bad('size', size, 'which is too large');
  if (header.l1Entries * 8 > MAX_L1_BYTES)
    throw bad('l1_size', header.l1Entries, 'the table would be longer than 32 MiB');
  const needed = Math.ceil(size / (clusterSize * (clusterSize / 8)));
  if (header.l1Entries < needed)
    throw bad('l1_size', header.l1Entries, `a disk of ${size} bytes needs ${needed}`);
  table('l1_table_offset', header.l1Offset, header.l1Entries * 8);
  if (header.refcountTableClusters === 0)
    throw bad('refcount_table_clusters', 0, 'there must be one');
  const refcountBytes = header.refcountTableClusters * clusterSize;
  if (refcountBytes > MAX_REFCOUNT_TABLE_BYTES)
    throw bad(
      'refcount_table_clusters',
      header.refcountTableClusters,
      'the table would be longer than 8 MiB',
    );
  table('refcount_table_offset', header.refcountTableOffset, refcountBytes);
  if (header.snapshots > MAX_SNAPSHOTS)
    throw bad('nb_snapshots', header.snapshots, `it must be at most ${MAX_SNAPSHOTS}`);
  table('snapshots_offset', header.snapshotsOffset, header.snapshots * 40);
}

const text = (data: Buffer) =>
  data
    .toString('utf8')
    .replace(/\0.*$/s, '')
    .replace(/[^\x20-\x7e]/g, '?');

const featureNames: readonly [kind: number, bit: number, name: string][] = [
  [0, 0, 'dirty bit'],
  [0, 1, 'corrupt bit'],
  [0, 2, 'external data file'],
  [0, 3, 'compression type'],
  [0, 4, 'extended L2 entries'],
  [1, 0, 'lazy refcounts'],
  [2, 0, 'bitmaps'],
  [2, 1, 'raw external data'],
];

/** The first cluster of a new image. */
export function encodeQcow2Header(h: Qcow2Header): Buffer {
  const out = Buffer.alloc(h.clusterSize);
  const length = h.version === 3 ? 112 : V2_LENGTH;
  out.writeUInt32BE(QCOW2_MAGIC, 0);
  out.writeUInt32BE(h.version, 4);
  out.writeUInt32BE(h.clusterBits, 20);
  writeOffset(out, h.size, HeaderAt.SIZE);
  out.writeUInt32BE(h.l1Entries, HeaderAt.L1_SIZE);
  writeOffset(out, h.l1Offset, HeaderAt.L1_OFFSET);
  writeOffset(out, h.refcountTableOffset, HeaderAt.REFCOUNT_TABLE);
  out.writeUInt32BE(h.refcountTableClusters, 56);
  if (h.version === 3) {
    out.writeUInt32BE(h.incompatible, HeaderAt.INCOMPATIBLE + 4);
    out.writeUInt32BE(h.compatible, 84);
    out.writeUInt32BE(Math.log2(h.refcountBits), 96);
    out.writeUInt32BE(length, 100);
    out[104] = h.compression === 'zstd' ? 1 : 0;
  }
  const extensions: [number, Buffer][] = [];
  if (h.backingFormat !== undefined)
    extensions.push([Extension.BACKING_FORMAT, Buffer.from(h.backingFormat)]);
  const backing = Buffer.from(h.backingFile ?? '');
  const names = Buffer.concat(
    featureNames.map(([kind, bit, name]) =>
      Buffer.concat([Buffer.from([kind, bit]), Buffer.from(name)], 48),
    ),
  );
  // Only a help for messages: left out where the first cluster has no room.
  if (h.version === 3 && length + 8 + names.length + backing.length + 64 <= h.clusterSize)
    extensions.push([Extension.FEATURE_NAMES, names]);
  let at = length;
  for (const [type, data] of extensions) {
    if (at + 16 + data.length > h.clusterSize)
      throw new VmError('qcow2 header: the backing format does not fit the first cluster');
    out.writeUInt32BE(type, at);
    out.writeUInt32BE(data.length, at + 4);
    data.copy(out, at + 8);
    at += 8 + Math.ceil(data.length / 8) * 8;
  }
  at += 8;
  if (backing.length > MAX_BACKING_NAME || at + backing.length > h.clusterSize)
    throw bad('backing_file_size', backing.length, 'the name does not fit the first cluster');
  if (backing.length > 0) {
    writeOffset(out, at, 8);
    out.writeUInt32BE(backing.length, 16);
    backing.copy(out, at);
  }
  return out;
}

/**
 * The first cluster with another backing file, or none; extensions that we do not know stay. Only
 * the sectors that change, which is the whole of it in one write.
 */
export function withBacking(
  first: Buffer,
  header: Qcow2Header,
  name: string | undefined,
  format: string | undefined,
): Buffer {
  const start = header.version === 3 ? first.readUInt32BE(100) : V2_LENGTH;
  const oldName = readOffset(first, 8, 'backing_file_offset');
  const oldEnd = oldName === 0 ? first.length : oldName;
  const out = Buffer.alloc(header.clusterSize);
  first.copy(out, 0, 0, start);
  let at = start;
  let used = start + 8;
  const add = (type: number, data: Buffer) => {
    if (at + 16 + data.length > out.length)
      throw bad('extension length', data.length, 'it does not fit the first cluster');
    out.writeUInt32BE(type, at);
    out.writeUInt32BE(data.length, at + 4);
    data.copy(out, at + 8);
    at += 8 + Math.ceil(data.length / 8) * 8;
  };
  if (name !== undefined && format !== undefined)
    add(Extension.BACKING_FORMAT, Buffer.from(format));
  for (let from = start; from + 8 <= oldEnd;) {
    const type = first.readUInt32BE(from);
    const length = first.readUInt32BE(from + 4);
    if (type === Extension.END) break;
    if (type !== Extension.BACKING_FORMAT) add(type, first.subarray(from + 8, from + 8 + length));
    from += 8 + Math.ceil(length / 8) * 8;
    used = from + 8;
  }
  at += 8;
  const text = Buffer.from(name ?? '');
  if (text.length > MAX_BACKING_NAME || at + text.length > out.length)
    throw bad('backing_file_size', text.length, 'the name does not fit the first cluster');
  writeOffset(out, text.length > 0 ? at : 0, 8);
  out.writeUInt32BE(text.length, 16);
  text.copy(out, at);
  const end = Math.max(
    at + text.length,
    used,
    oldName === 0 ? 0 : oldName + first.readUInt32BE(16),
  );
  return out.subarray(0, Math.min(out.length, Math.ceil(end / 512) * 512));
}
