/**
 * Packed pages without the addon: what native/addon/page_codec.cc does, said once more and slowly,
 * but for zstd, which it neither makes nor takes.
 */
import type { PageCodec } from '../../../src/accel/contract.js';
import {
  DELTA_BYTES_MAX,
  isDelta,
  PACKED_TAG,
  WHOLE_TAG,
  ZEROES_TAG,
} from '../../../src/migration/page-tags.js';

const PAGE = 4096;
const WORD = 8;
const WORDS = PAGE / WORD;
const RUN_MAX = 255;
const SMALL_DELTA = 1024;
const SUM_BYTES = 8;
const NOISE_BYTES = 140;
const [P1, P2, P3] = [2654435761, 2246822519, 3266489917];
/** jest looks a global up the slow way. */
const { imul } = Math;

const zeroes = Buffer.alloc(PAGE);

/** Of a page, which begins where a word does. */
const wordsOf = (page: Buffer) => new Int32Array(page.buffer, page.byteOffset, PAGE / 4);
const rotl = (value: number, by: number) => (value << by) | (value >>> (32 - by));

export function pageSum(page: Buffer): Buffer {
  const lane = Int32Array.from({ length: 8 }, (_, i) => [P1, P2, P3][i % 3] + i);
  const words = wordsOf(page);
  for (let at = 0; at < words.length; at++)
    lane[at % 8] = imul(rotl(lane[at % 8] ^ words[at], 13), P1);
  let high = P2 | 0;
  let low = P3 | 0;
  for (const l of lane) {
    high = imul(rotl(high ^ l, 15), P2);
    low = imul(rotl((low + l) | 0, 7), P3);
  }
  const sum = Buffer.alloc(SUM_BYTES);
  sum.writeInt32BE(high, 0);
  sum.writeInt32BE(low, 4);
  return sum;
}

/** undefined: more than `most` bytes. */
export function encodeDelta(base: Buffer, page: Buffer, most: number): Buffer | undefined {
  const [was, is] = [wordsOf(base), wordsOf(page)];
  const same = (word: number) =>
    was[2 * word] === is[2 * word] && was[2 * word + 1] === is[2 * word + 1];
  const out: number[] = [];
  for (let word = 0; word < WORDS;) {
    const from = word;
    while (word < WORDS && same(word)) word++;
    if (word === WORDS && out.length > 0) break;
    let equal = word === WORDS ? 0 : word - from;
    for (; equal > RUN_MAX; equal -= RUN_MAX) out.push(RUN_MAX, 0);
    const first = word;
    while (word < WORDS && word - first < RUN_MAX && !same(word)) word++;
    out.push(equal, word - first);
    for (let at = first * WORD; at < word * WORD; at++) out.push(base[at] ^ page[at]);
    if (out.length > most) return undefined;
  }
  return Buffer.from(out);
}

/** page holds the former content. False: the runs are none. */
export function applyDelta(runs: Buffer, page: Buffer): boolean {
  let word = 0;
  for (let at = 0; at < runs.length;) {
    if (runs.length - at < 2) return false;
    const count = runs[at + 1];
    word += runs[at];
    at += 2;
    if (word + count > WORDS || runs.length - at < count * WORD) return false;
    for (let i = word * WORD; i < (word + count) * WORD; i++) page[i] ^= runs[at++];
    word += count;
  }
  return true;
}

function isNoise(page: Buffer): boolean {
  const seen = new Set<number>();
  for (let i = 0; i < 256; i++) seen.add(page[i * 16 + (i % 16)]);
  return seen.size >= NOISE_BYTES;
}

/** A tag, and what stands for the page in front of those that are whole. */
function packed(base: Buffer | undefined, page: Buffer): [tag: number, bytes: Buffer[]] {
  if (page.compare(zeroes) === 0) return [ZEROES_TAG, []];
  const runs = base && encodeDelta(base, page, DELTA_BYTES_MAX);
  const noise = !(runs && runs.length <= SMALL_DELTA) && isNoise(page);
  if (runs && (runs.length <= SMALL_DELTA || noise)) return [runs.length, [pageSum(page), runs]];
  return noise ? [WHOLE_TAG, []] : [PACKED_TAG, [page]];
}

export class PlainPageCodec implements PageCodec {
  /** page: the content that the other side may count from. */
  constructor(private readonly page: (page: number) => Uint8Array) {}

  pack(
    data: Uint8Array,
    tags: Uint16Array,
    bases: Int32Array,
    keeps: Int32Array,
    store: Uint8Array,
    out: Uint8Array,
  ): number {
    const at = (bytes: Uint8Array, slot: number) =>
      Buffer.from(bytes.buffer, bytes.byteOffset + slot * PAGE, PAGE);
    const parts: Buffer[] = [];
    const whole: Buffer[] = [];
    tags.forEach((_, i) => {
      const page = at(data, i);
      const [tag, bytes] = packed(bases[i] < 0 ? undefined : at(store, bases[i]), page);
      tags[i] = tag;
      parts.push(...bytes);
      if (tag === WHOLE_TAG) whole.push(page);
      if (keeps[i] >= 0 && tag !== ZEROES_TAG) at(store, keeps[i]).set(page);
    });
    return Buffer.concat([Buffer.alloc(4), ...parts, ...whole]).copy(out);
  }

  unpack(
    pages: Uint32Array,
    tags: Uint16Array,
    payload: Uint8Array,
    out: Uint8Array,
  ): string | undefined {
    const body = Buffer.from(payload.buffer, payload.byteOffset, payload.length);
    const list = [...tags];
    const sizes = list.map(tag => (isDelta(tag) ? SUM_BYTES + tag : tag === PACKED_TAG ? PAGE : 0));
    const length = sizes.reduce((all, size) => all + size, 0);
    const whole = list.filter(tag => tag === WHOLE_TAG).length * PAGE;
    if (body.length - 4 - whole !== (body.readUInt32BE(0) || length))
      return 'its pages have another length';
    if (body.readUInt32BE(0) !== 0) return 'this side has no zstd';
    let from = 4;
    let wholeFrom = 4 + length;
    let to = 0;
    for (const [i, page] of pages.entries()) {
      if (tags[i] === ZEROES_TAG) continue;
      const target = Buffer.from(out.buffer, out.byteOffset + to, PAGE);
      to += PAGE;
      if (tags[i] === WHOLE_TAG) {
        target.set(body.subarray(wholeFrom, wholeFrom + PAGE));
        wholeFrom += PAGE;
        continue;
      }
      const bytes = body.subarray(from, from + sizes[i]);
      from += sizes[i];
      if (tags[i] === PACKED_TAG) target.set(bytes);
      else {
        target.set(this.page(page));
        if (!applyDelta(bytes.subarray(SUM_BYTES), target))
          return `the runs of page ${page} do not fit a page`;
        if (!pageSum(target).equals(bytes.subarray(0, SUM_BYTES)))
          return `page ${page} is not what its change was made from`;
      }
    }
    return undefined;
  }
}
