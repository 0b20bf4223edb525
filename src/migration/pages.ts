/**
 * A chunk of RAM on the wire: count, then a u32 for each page (bit 31: all zeroes, no data follows
 * for it), then the data of the others. Pages ascend strictly within a chunk and from chunk to
 * chunk of one round, so none comes twice and the number is bounded by RAM.
 */
import { VmError } from '../base/errors.js';
import { or32, without32 } from '../base/unsigned.js';
import type { Ram } from '../accel/contract.js';
import type { Turns } from './turns.js';
import { type FrameKind, FIRST_OWN_ORDINAL, frameHead, sealFrame } from './frames.js';

export const PAGE_BYTES = 4096;
export const CHUNK_PAGES_MAX = 256;
/** The body of the largest chunk. */
export const chunkBytesMax = 4 + CHUNK_PAGES_MAX * (4 + PAGE_BYTES);

/** Staging memory grows and shrinks by this: no buffer has to hold a whole epoch. */
const BUFFER_BYTES = 4 * 1024 * 1024;
const bufferPages = BUFFER_BYTES / PAGE_BYTES;
/** Staging memory that is kept even when little of it is used. */
const KEPT_BUFFERS = 16;
/** More is given back after so many epochs, one after the other, that used less than a quarter. */
const SMALL_EPOCHS = 8;

/** Pages that the guest writes between the count and its stop. */
const SPARE = 1.125;

const ZERO_FLAG = 0x8000_0000;
const zeroes = Buffer.alloc(PAGE_BYTES);

/**
 * Pages and their content, copied out of RAM while the guest stands still. The memory is kept for
 * the next time.
 */
export class PageStaging {
  private readonly buffers: Buffer[] = [];
  private holes = false;
  /** In a row. */
  private smallEpochs = 0;
  pages: Uint32Array = new Uint32Array(0);

  /**
   * Room for about so many pages, before the guest stands still for them: memory that nobody has
   * touched costs more than the copy itself. VmError: this host has none.
   */
  async prepare(pages: number, turns: Turns): Promise<void> {
    const { buffers } = this;
    const count = Math.ceil((pages * SPARE) / bufferPages);
    const small = buffers.length > KEPT_BUFFERS && count < buffers.length / 4;
    this.smallEpochs = small ? this.smallEpochs + 1 : 0;
    if (this.smallEpochs === SMALL_EPOCHS) {
      buffers.length = Math.max(count, KEPT_BUFFERS);
      this.smallEpochs = 0;
    }
    while (buffers.length < count) {
      buffers.push(newBuffer().fill(0));
      await turns.spend(BUFFER_BYTES);
    }
  }

  /** Even if it throws, `pages` is the set that was asked for. */
  fill(ram: Ram, pages: Uint32Array): void {
    this.pages = pages;
    this.holes = false;
    this.reserve(Math.ceil(pages.length / bufferPages));
    for (let from = 0; from < pages.length; from += bufferPages) {
      const part = pages.subarray(from, from + bufferPages);
      const buffer = this.buffers[from / bufferPages];
      ram.gather(part, buffer.subarray(0, part.length * PAGE_BYTES));
    }
  }

  /** They hold no memory: zeroes, without a look at them. */
  fillHoles(pages: Uint32Array): void {
    this.pages = pages;
    this.holes = true;
  }

  isZero(page: number): boolean {
    return this.holes || this.data(page).compare(zeroes, 0, PAGE_BYTES) === 0;
  }

  data(page: number): Buffer {
    const at = (page % bufferPages) * PAGE_BYTES;
    return this.buffers[Math.floor(page / bufferPages)].subarray(at, at + PAGE_BYTES);
  }

  /** Pages [from, to), which lie in one buffer. */
  run(from: number, to: number): Buffer {
    const at = from % bufferPages;
    const buffer = this.buffers[Math.floor(from / bufferPages)];
    return buffer.subarray(at * PAGE_BYTES, (at + to - from) * PAGE_BYTES);
  }

  /** The first page behind the buffer that this one lies in. */
  bufferEnd(page: number): number {
    return (Math.floor(page / bufferPages) + 1) * bufferPages;
  }

  /** What it keeps of this host's memory. */
  get heldBytes(): number {
    return this.buffers.length * BUFFER_BYTES;
  }

  private reserve(count: number): void {
    const { buffers } = this;
    while (buffers.length < count) buffers.push(newBuffer());
  }
}

function newBuffer(): Buffer {
  try {
    return Buffer.allocUnsafeSlow(BUFFER_BYTES);
  } catch (error) {
    throw new VmError('this host has no memory for a copy of the dirty pages', { cause: error });
  }
}

/** The frame of pages [from, to) of the staging area. */
export function encodePageChunk(
  kind: FrameKind,
  staging: PageStaging,
  from: number,
  to: number,
): Buffer {
  const count = to - from;
  const head = frameHead(kind.ordinal);
  const frame = Buffer.allocUnsafe(head + 4 + count * (4 + PAGE_BYTES));
  frame.writeUInt32BE(count, head);
  let at = head + 4 + count * 4;
  for (let i = 0; i < count; i++) {
    const zero = staging.isZero(from + i);
    frame.writeUInt32BE(or32(staging.pages[from + i], zero ? ZERO_FLAG : 0), head + 4 + i * 4);
    if (!zero) at += staging.data(from + i).copy(frame, at);
  }
  return sealFrame(kind, frame.subarray(0, at));
}

/** How many pages of a chunk's frame carry data; the others are zeroes. */
export function chunkPagesOfData(frame: Buffer): number {
  return Math.floor((frame.length - frameHead(FIRST_OWN_ORDINAL)) / PAGE_BYTES);
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
  if (count === 0 || count > CHUNK_PAGES_MAX) throw new VmError(`RAM chunk of ${count} pages`);
  const dataAt = 4 + count * 4;
  if (body.length < dataAt) throw new VmError('RAM chunk is cut off');
  const pages = new Uint32Array(count);
  const zeroPages = new Uint32Array(count);
  let withData = 0;
  let last = after;
  for (let i = 0; i < count; i++) {
    const entry = body.readUInt32BE(4 + i * 4);
    last = nextPage(without32(entry, ZERO_FLAG), pageCount, last);
    if (entry >= ZERO_FLAG) zeroPages[i - withData] = last;
    else pages[withData++] = last;
  }
  if (body.length !== dataAt + withData * PAGE_BYTES)
    throw new VmError(`RAM chunk of ${count} pages has ${body.length} bytes`);
  return {
    pages: pages.slice(0, withData),
    data: body.subarray(dataAt),
    zeroPages: zeroPages.slice(0, count - withData),
    last,
  };
}

/** VmError: not in RAM, or not behind the one before it. */
export function nextPage(page: number, pageCount: number, last: number): number {
  if (page >= pageCount)
    throw new VmError(`RAM page ${page} lies beyond the ${pageCount} pages of this machine`);
  if (page <= last) throw new VmError(`RAM page ${page} after page ${last}`);
  return page;
}

export function applyChunk(ram: Ram, chunk: PageChunk): void {
  if (chunk.pages.length > 0) ram.scatter(chunk.pages, chunk.data);
  if (chunk.zeroPages.length > 0) ram.zero(chunk.zeroPages);
}
