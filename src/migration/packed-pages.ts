/**
 * A chunk of RAM that is sent as little as it can be: count, then for each page its number (u32)
 * and a tag (u16), then the payload. Tags: 0 a page of zeroes; 1 to 3072 so many bytes of what
 * changed since the content that the other side holds; 0xfffe the page, packed; 0xffff the page as
 * it is. Payload: a u32 and then, in the order of pages, the sum of the new content (u64) and what
 * changed (runs, native/memory/page_delta.h) of each page that has such, and the bytes of each that
 * is packed; as they stand where the u32 is 0, else one frame of zstd of so many bytes. The pages
 * that go as they are follow. Pages ascend as in pages.ts.
 */
import { VmError } from '../base/errors.js';
import type { PageCodec, Ram } from '../accel/contract.js';
import { type FrameKind, frameHead, sealFrame } from './frames.js';
import {
  CHUNK_PAGES_MAX,
  nextPage,
  PAGE_BYTES,
  type PageChunk,
  type PageStaging,
} from './pages.js';
import { isTag, ZEROES_TAG } from './page-tags.js';
import { SentPages } from './sent-pages.js';

const ENTRY_BYTES = 6;

/** The body of the largest chunk. */
export const packedBytesMax = 8 + CHUNK_PAGES_MAX * (ENTRY_BYTES + PAGE_BYTES);

/** Makes the chunks of one connection. */
export class PagePacker {
  readonly sent: SentPages;
  private readonly codec: PageCodec;
  private readonly tags = new Uint16Array(CHUNK_PAGES_MAX);
  private scratch: Buffer | undefined;

  constructor(
    ram: Pick<Ram, 'pageCodec' | 'pageCount'>,
    private readonly kind: FrameKind,
  ) {
    this.codec = ram.pageCodec();
    this.sent = new SentPages(ram.pageCount);
  }

  /** The frame of pages [from, to) of the staging area, which lie in one of its buffers. */
  frame(staging: PageStaging, from: number, to: number): Buffer {
    const { codec, sent, kind } = this;
    const pages = staging.pages.subarray(from, to);
    const tags = this.tags.subarray(0, pages.length);
    const head = frameHead(kind.ordinal);
    const frame = (this.scratch ??= Buffer.allocUnsafeSlow(head + packedBytesMax));
    const payloadAt = head + 4 + pages.length * ENTRY_BYTES;
    const { bases, keeps } = sent.place(pages);
    const out = frame.subarray(payloadAt);
    const length = codec.pack(staging.run(from, to), tags, bases, keeps, sent.store, out);
    sent.note(pages, tags);
    frame.writeUInt32BE(pages.length, head);
    for (let i = 0, at = head + 4; i < pages.length; i++, at += ENTRY_BYTES) {
      frame.writeUInt32BE(pages[i], at);
      frame.writeUInt16BE(tags[i], at + 4);
    }
    return sealFrame(kind, this.handOut(frame, payloadAt + length));
  }

  /** The wire has it for a while. One that is nearly full is not copied once more. */
  private handOut(frame: Buffer, length: number): Buffer {
    if (length < frame.length / 2) return Buffer.from(frame.subarray(0, length));
    this.scratch = undefined;
    return frame.subarray(0, length);
  }
}

/** Untrusted body. `after`: the last page so far. The RAM is what the sender has counted from. */
export function decodePacked(
  body: Buffer,
  codec: PageCodec,
  pageCount: number,
  after: number,
): PageChunk {
  if (body.length < 4) throw new VmError('packed RAM without a page count');
  const count = body.readUInt32BE(0);
  if (count === 0 || count > CHUNK_PAGES_MAX) throw new VmError(`packed RAM of ${count} pages`);
  const payloadAt = 4 + count * ENTRY_BYTES;
  if (body.length < payloadAt + 4) throw new VmError('packed RAM is cut off');
  const all = new Uint32Array(count);
  const tags = new Uint16Array(count);
  let last = after;
  for (let i = 0, at = 4; i < count; i++, at += ENTRY_BYTES) {
    all[i] = last = nextPage(body.readUInt32BE(at), pageCount, last);
    tags[i] = body.readUInt16BE(at + 4);
    if (!isTag(tags[i]))
      throw new VmError(`RAM page ${last} is packed in a way that is not known: ${tags[i]}`);
  }
  const pages = all.filter((_, i) => tags[i] !== ZEROES_TAG);
  const zeroPages = all.filter((_, i) => tags[i] === ZEROES_TAG);
  const data = Buffer.allocUnsafeSlow(pages.length * PAGE_BYTES);
  const problem = codec.unpack(all, tags, body.subarray(payloadAt), data);
  if (problem !== undefined) throw new VmError(`packed RAM of ${count} pages: ${problem}`);
  return { pages, data, zeroPages, last };
}
