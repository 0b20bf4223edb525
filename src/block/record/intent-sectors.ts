/**
 * The file of a write-intent bitmap: sectors of 512 bytes, each with a checksum of its own, so that
 * a write of one is there or is not, and nothing of the others depends on it. The first is the
 * header, all others hold 3840 bits each (format: ARCHITECTURE.md).
 */
import { createHash } from 'node:crypto';
import { VmError } from '../../base/errors.js';
import { Reader } from '../../fields/bytes.js';
import { bytes, counted, enum8, record, text, u32, u53 } from '../../fields/field.js';
import { Regions, regionBytesOf } from './regions.js';

export const SECTOR_BYTES = 512;
export const BITS_BYTES = 480;
const MAGIC = 0x434f_4257;
const VERSION = 1;
const HEADER_SUM_BYTES = SECTOR_BYTES - BITS_BYTES;
const SUM_BYTES = 20;
export const BASES_MAX = 2;
const REASON_BYTES_MAX = 120;

/** What the bits count: bytes of the file, or of the disk in a qcow2 image. */
export const intentFormats = ['raw', 'qcow2'] as const;
export type IntentFormat = (typeof intentFormats)[number];

/**
 * A moment at which both sides' images were known, but for what is marked: a session of the pair
 * makes one, and both sides keep its name.
 */
export interface CommonPoint {
  /** 32 hexadecimal digits, from chance. */
  readonly id: string;
  /** The branch that both were on. */
  readonly branch: string;
  readonly generation: number;
}

export interface IntentHeader {
  /** Of this file: sectors of another are none of it. */
  readonly instance: string;
  readonly pair: string;
  /** Either holds: the newest first. */
  readonly bases: readonly CommonPoint[];
  readonly format: IntentFormat;
  /** Bytes of the disk. */
  readonly length: number;
  /** How the image is called by its file system: its inode, and when that was born. */
  readonly image: string;
  /** No write of colo to the image is later: microseconds of wall time since 1970. */
  readonly limitUs: number;
  /** Why it is void; '': it is not. */
  readonly voided: string;
}

const base = record({ id: bytes(16), branch: bytes(16), generation: u53 });
const layout = record({
  magic: u32.is(MAGIC),
  version: u32,
  instance: bytes(8),
  pair: bytes(16),
  bases: counted(base, BASES_MAX),
  format: enum8(intentFormats),
  length: u53,
  regionBytes: u32,
  limitUs: u53,
  image: text(96),
  voided: text(4 * REASON_BYTES_MAX),
});

const unhex = (digits: string) => Buffer.from(digits.replaceAll('-', ''), 'hex');
const uuidOf = (b: Buffer) =>
  b.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
const sumOf = (data: Uint8Array, length: number) =>
  createHash('sha256').update(data).digest().subarray(0, length);

export function encodeHeader(header: IntentHeader): Buffer {
  const body = layout.encode({
    ...header,
    magic: MAGIC,
    version: VERSION,
    instance: unhex(header.instance),
    pair: unhex(header.pair),
    bases: header.bases.map(point => ({
      id: unhex(point.id),
      branch: unhex(point.branch),
      generation: point.generation,
    })),
    regionBytes: regionBytesOf(header.length),
    voided: header.voided.slice(0, REASON_BYTES_MAX),
  });
  if (body.length > BITS_BYTES) throw new VmError(`a header of ${body.length} bytes`);
  const sector = Buffer.alloc(SECTOR_BYTES);
  body.copy(sector);
  sumOf(sector.subarray(0, BITS_BYTES), HEADER_SUM_BYTES).copy(sector, BITS_BYTES);
  return sector;
}

/** VmError: it is none that this colo can act on. */
function decodeHeader(sector: Buffer): IntentHeader {
  if (sector.length < SECTOR_BYTES || sector.readUInt32BE(0) !== MAGIC)
    throw new VmError('it is not one of colo');
  const version = sector.readUInt32BE(4);
  if (version !== VERSION) throw new VmError(`it has version ${version}, this colo knows 1`);
  if (!sumOf(sector.subarray(0, BITS_BYTES), HEADER_SUM_BYTES).equals(sector.subarray(BITS_BYTES)))
    throw new VmError('the checksum of its header is wrong: it is torn, or was changed');
  const found = layout.read(new Reader(sector.subarray(0, BITS_BYTES)), 0);
  const { length, regionBytes } = found;
  if (regionBytes !== regionBytesOf(length))
    throw new VmError(`regions of ${regionBytes} bytes for a disk of ${length}`);
  return {
    ...found,
    instance: found.instance.toString('hex'),
    pair: uuidOf(found.pair),
    bases: found.bases.map(({ id, branch, generation }) => ({
      id: id.toString('hex'),
      branch: branch.toString('hex'),
      generation,
    })),
  };
}

export const sectorCountOf = (regions: Regions) => Math.ceil(regions.count / 8 / BITS_BYTES);

/** In which sector of bits a byte of the disk is. */
export const sectorOf = (offset: number, { regionBytes }: Regions) =>
  Math.floor(offset / regionBytes / 8 / BITS_BYTES);

export function encodeBits(instance: string, n: number, regions: Regions): Buffer {
  const sector = Buffer.alloc(SECTOR_BYTES);
  sector.set(regions.slice(n * BITS_BYTES, BITS_BYTES));
  unhex(instance).copy(sector, BITS_BYTES);
  sector.writeUInt32BE(n, BITS_BYTES + 8);
  const end = SECTOR_BYTES - SUM_BYTES;
  sumOf(sector.subarray(0, end), SUM_BYTES).copy(sector, end);
  return sector;
}

/** VmError: in it is nothing to go by, and why. One that is void has no bits. */
export function decodeIntents(file: Buffer): { header: IntentHeader; regions: Regions } {
  const header = decodeHeader(file.subarray(0, SECTOR_BYTES));
  const regions = new Regions(header.length);
  if (header.voided !== '') return { header, regions };
  for (let n = 0; n < sectorCountOf(regions); n++) {
    const sector = file.subarray((n + 1) * SECTOR_BYTES, (n + 2) * SECTOR_BYTES);
    regions.load(n * BITS_BYTES, bitsOf(sector, n, header.instance));
  }
  return { header, regions };
}

function bitsOf(sector: Buffer, n: number, instance: string): Buffer {
  const end = SECTOR_BYTES - SUM_BYTES;
  const whole =
    sector.length === SECTOR_BYTES &&
    sumOf(sector.subarray(0, end), SUM_BYTES).equals(sector.subarray(end)) &&
    sector.readUInt32BE(BITS_BYTES + 8) === n &&
    sector.toString('hex', BITS_BYTES, BITS_BYTES + 8) === instance;
  if (!whole) throw new VmError(`its sector ${n + 1} is torn, missing, or was changed`);
  return sector.subarray(0, BITS_BYTES);
}
