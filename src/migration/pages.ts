/**
 * A chunk of RAM on the wire: count, then a u32 for each page (bit 31: all zeroes, no data follows
 * for it), then the data of the others. Pages ascend strictly within a chunk and from chunk to
 * chunk of one round, so none comes twice and the number is bounded by RAM.
 */
import { VmError } from '../base/errors.js';
import { or32, without32 } from '../base/unsigned.js';
import type { Ram } from '../accel/contract.js';
import { type FrameKind, firstOwnOrdinal, frameHead, sealFrame } from './frames.js';

export const pageBytes = 4096;
export const chunkPagesMax = 256;
/** The body of the largest chunk. */
export const chunkBytesMax = 4 + chunkPagesMax * (4 + pageBytes);

/** Staging memory grows and shrinks by this: no buffer has to hold a whole epoch. */
const bufferBytes = 4 * 1024 * 1024;
const bufferPages = bufferBytes / pageBytes;
/** Staging memory that is kept even when little of it is used. */
const keptBuffers = 16;

const zeroFlag = 0x8000_0000;
const zeroes = Buffer.alloc(pageBytes);

/**
 * Pages and their content, copied out of RAM while the guest stands still. The memory is kept for
 * the next time.
 */
export class PageStaging {
  private readonly buffers: Buffer[] = [];
  private holes = false;
  pages: Uint32Array = new Uint32Array(0);

  /** Even if it throws, `pages` is the set that was asked for. */
  fill(ram: Ram, pages: Uint32Array): void {
    this.pages = pages;
    this.holes = false;
    this.reserve(Math.ceil(pages.length / bufferPages));
    for (let from = 0; from < pages.length; from += bufferPages) {
      const part = pages.subarray(from, from + bufferPages);
      const buffer = this.buffers[from / bufferPages];
      ram.gather(part, buffer.subarray(0, part.length * pageBytes));
    }
  }

  /** They hold no memory: zeroes, without a look at them. */
  fillHoles(pages: Uint32Array): void {
    this.pages = pages;
    this.holes = true;
  }

  isZero(page: number): boolean {
    return this.holes || this.data(page).compare(zeroes, 0, pageBytes) === 0;
  }

  data(page: number): Buffer {
    const at = (page % bufferPages) * pageBytes;
    return this.buffers[Math.floor(page / bufferPages)].subarray(at, at + pageBytes);
  }

  /** What it keeps of this host's memory. */
  get heldBytes(): number {
    return this.buffers.length * bufferBytes;
  }

  private reserve(count: number): void {
    const { buffers } = this;
    if (buffers.length > keptBuffers && count < buffers.length / 4) buffers.length = count;
    while (buffers.length < count) buffers.push(newBuffer());
  }
}

function newBuffer(): Buffer {
  try {
    return Buffer.allocUnsafeSlow(bufferBytes);
  } catch (error) {
    throw new VmError('this host has no memory for a copy of the dirty pages', { cause: error });
  }
}

/** The frame of pages [from, to) of the staging area. */
export function encodeChunk(
  kind: FrameKind,
  staging: PageStaging,
  from: number,
  to: number,
): Buffer {
  const count = to - from;
  const head = frameHead(kind.ordinal);
  const frame = Buffer.allocUnsafe(head + 4 + count * (4 + pageBytes));
  frame.writeUInt32BE(count, head);
  let at = head + 4 + count * 4;
  for (let i = 0; i < count; i++) {
    const zero = staging.isZero(from + i);
    frame.writeUInt32BE(or32(staging.pages[from + i], zero ? zeroFlag : 0), head + 4 + i * 4);
    if (!zero) at += staging.data(from + i).copy(frame, at);
  }
  return sealFrame(kind, frame.subarray(0, at));
}

/** How many pages of a chunk's frame carry data; the others are zeroes. */
export function chunkPagesOfData(frame: Buffer): number {
  return Math.floor((frame.length - frameHead(firstOwnOrdinal)) / pageBytes);
}

export interface PageChunk {
  /** Pages with data, and their data. */
  pages: Uint32Array;
  data: Buffer;
  /** Pages of zeroes. */
  zeroPages: Uint32Array;
  last: number;
}

export const pagesOf = (chunk: PageChunk) => chunk.pages.length + chunk.zeroPages.length;

/** Untrusted body. `after`: the last page of the round so far, -1 at its start. */
export function decodeChunk(body: Buffer, pageCount: number, after: number): PageChunk {
  if (body.length < 4) throw new VmError('RAM chunk without a page count');
  const count = body.readUInt32BE(0);
  if (count === 0 || count > chunkPagesMax) throw new VmError(`RAM chunk of ${count} pages`);
  const dataAt = 4 + count * 4;
  if (body.length < dataAt) throw new VmError('RAM chunk is cut off');
  const pages = new Uint32Array(count);
  const zeroPages = new Uint32Array(count);
  let withData = 0;
  let last = after;
  for (let i = 0; i < count; i++) {
    const entry = body.readUInt32BE(4 + i * 4);
    const page = without32(entry, zeroFlag);
    if (page >= pageCount)
      throw new VmError(`RAM page ${page} lies beyond the ${pageCount} pages of this machine`);
    if (page <= last) throw new VmError(`RAM page ${page} after page ${last}`);
    last = page;
    if (entry >= zeroFlag) zeroPages[i - withData] = page;
    else pages[withData++] = page;
  }
  if (body.length !== dataAt + withData * pageBytes)
    throw new VmError(`RAM chunk of ${count} pages has ${body.length} bytes`);
  return {
    pages: pages.slice(0, withData),
    data: body.subarray(dataAt),
    zeroPages: zeroPages.slice(0, count - withData),
    last,
  };
}

export function applyChunk(ram: Ram, chunk: PageChunk): void {
  if (chunk.pages.length > 0) ram.scatter(chunk.pages, chunk.data);
  if (chunk.zeroPages.length > 0) ram.zero(chunk.zeroPages);
}
