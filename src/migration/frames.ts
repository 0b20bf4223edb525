/**
 * Framing of the migration stream, sans-I/O. It opens with a header (magic, version); then come
 * frames: a big-endian ordinal and a body. Ordinals below 64 are QEMU's COLO messages, bare as
 * there; from 64 on they are ours: length and CRC-32 of ordinal and body come first. Untrusted: an
 * unknown ordinal, a length over the kind's limit or a wrong checksum is a VmError, and nothing
 * after it is looked at.
 */
import { crc32 } from 'node:zlib';
import { VmError, assert } from '../base/errors.js';
import { bytes, record, u32 } from '../fields/field.js';

export const STREAM_VERSION = 2;
const magic = Buffer.from('colo\r\n\x1a\0', 'latin1');
const header = record({ magic: bytes(magic.length), version: u32 });
const headerSize = magic.length + 4;

/** First ordinal whose body has a length and a checksum in front. */
export const FIRST_OWN_ORDINAL = 64;

export interface FrameKind<N extends string = string> {
  readonly name: N;
  readonly ordinal: number;
  /** Bare: the body's size. Own: its upper bound. */
  readonly bytes: number;
}

export function encodeStreamHeader(): Buffer {
  return header.encode({ magic, version: STREAM_VERSION });
}

/** Room that a frame of this ordinal needs in front of its body. */
export const frameHead = (ordinal: number) => (ordinal < FIRST_OWN_ORDINAL ? 4 : 12);

/** Fills the head of a frame whose body already stands behind it; `frame` is the whole. */
export function sealFrame(kind: FrameKind, frame: Buffer): Buffer {
  const head = frameHead(kind.ordinal);
  const length = frame.length - head;
  frame.writeUInt32BE(kind.ordinal, 0);
  if (kind.ordinal < FIRST_OWN_ORDINAL) {
    assert(length === kind.bytes, `${kind.name} has ${length} bytes`);
    return frame;
  }
  assert(length <= kind.bytes, `${kind.name} has ${length} bytes, at most ${kind.bytes} allowed`);
  frame.writeUInt32BE(length, 4);
  frame.writeUInt32BE(crc32(frame.subarray(head), kind.ordinal), 8);
  return frame;
}

export function encodeFrame(kind: FrameKind, body: Uint8Array): Buffer {
  const head = frameHead(kind.ordinal);
  const frame = Buffer.allocUnsafe(head + body.length);
  frame.set(body, head);
  return sealFrame(kind, frame);
}

/** Bytes in, frames out. The body handed out belongs to the receiver. */
export class FrameDecoder<K extends FrameKind> {
  private readonly byOrdinal = new Map<number, K>();
  private readonly head = Buffer.alloc(Math.max(12, headerSize));
  private headUsed = 0;
  private opened = false;
  private kind: K | undefined;
  private body: Buffer | undefined;
  private bodyUsed = 0;

  constructor(
    kinds: readonly K[],
    private readonly onFrame: (kind: K, body: Buffer) => void,
  ) {
    for (const kind of kinds) this.byOrdinal.set(kind.ordinal, kind);
  }

  /** True between two frames: an end of stream here cuts nothing off. */
  get whole(): boolean {
    return this.headUsed === 0 && this.body === undefined;
  }

  push(data: Uint8Array): void {
    let at = 0;
    while (at < data.length)
      at += this.body === undefined ? this.takeHead(data, at) : this.takeBody(data, at);
  }

  private takeHead(data: Uint8Array, at: number): number {
    const n = Math.min(this.headNeed() - this.headUsed, data.length - at);
    this.head.set(data.subarray(at, at + n), this.headUsed);
    this.headUsed += n;
    if (this.headUsed < this.headNeed()) return n;
    if (!this.opened) this.open();
    else if (this.kind === undefined) this.startFrame();
    else this.startBody(this.kind, this.head.readUInt32BE(4));
    return n;
  }

  private headNeed(): number {
    if (!this.opened) return headerSize;
    return this.kind === undefined ? 4 : 12;
  }

  private open(): void {
    const { magic: theirs, version } = header.decode(this.head.subarray(0, headerSize));
    if (!theirs.equals(magic)) throw new VmError('this is not a colo migration stream');
    if (version !== STREAM_VERSION)
      throw new VmError(
        `the peer speaks version ${version} of the migration stream, this side version ` +
          `${STREAM_VERSION}`,
      );
    this.opened = true;
    this.headUsed = 0;
  }

  private startFrame(): void {
    const ordinal = this.head.readUInt32BE(0);
    const kind = this.byOrdinal.get(ordinal);
    if (!kind) throw new VmError(`message ${ordinal} is none that this side takes`);
    this.kind = kind;
    if (ordinal < FIRST_OWN_ORDINAL) this.startBody(kind, kind.bytes);
  }

  private startBody(kind: K, length: number): void {
    if (length > kind.bytes)
      throw new VmError(`${kind.name} with ${length} bytes, at most ${kind.bytes} allowed`);
    this.body = Buffer.allocUnsafe(length);
    this.bodyUsed = 0;
    if (length === 0) this.finish(kind, this.body);
  }

  private takeBody(data: Uint8Array, at: number): number {
    const body = this.body!;
    const n = Math.min(body.length - this.bodyUsed, data.length - at);
    body.set(data.subarray(at, at + n), this.bodyUsed);
    this.bodyUsed += n;
    if (this.bodyUsed === body.length) this.finish(this.kind!, body);
    return n;
  }

  private finish(kind: K, body: Buffer): void {
    if (
      kind.ordinal >= FIRST_OWN_ORDINAL &&
      crc32(body, kind.ordinal) !== this.head.readUInt32BE(8)
    )
      throw new VmError(`${kind.name}: the checksum is wrong`);
    this.kind = undefined;
    this.body = undefined;
    this.headUsed = 0;
    this.onFrame(kind, body);
  }
}
