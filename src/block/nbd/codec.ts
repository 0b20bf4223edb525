/**
 * NBD on the wire, fixed new-style (NBD project, doc/proto.md): layouts and numbers. Big-endian
 * throughout. No I/O.
 */
import { VmError } from '../../base/errors.js';
import type { Field } from '../../fields/field.js';
import { bytes, record, u16, u32 } from '../../fields/field.js';
import type { IoCode } from '../contract/io-error.js';

export const NBD_MAGIC = Buffer.from('NBDMAGIC');
export const OPTION_MAGIC = Buffer.from('IHAVEOPT');
const COPY_BELOW = 32 * 1024;
const REPLY_MAGIC = [0x0003_e889, 0x0455_65a9] as const;

/** proto.md "Handshake flags", "Client flags". */
export const HandshakeFlag = { FIXED_NEWSTYLE: 1, NO_ZEROES: 2 } as const;
/** proto.md "Transmission flags". */
export const ExportFlag = {
  HAS_FLAGS: 1 << 0,
  READ_ONLY: 1 << 1,
  SEND_FLUSH: 1 << 2,
  SEND_FUA: 1 << 3,
  SEND_TRIM: 1 << 5,
  SEND_WRITE_ZEROES: 1 << 6,
  SEND_DF: 1 << 7,
  CAN_MULTI_CONN: 1 << 8,
  SEND_CACHE: 1 << 10,
  SEND_FAST_ZERO: 1 << 11,
} as const;
/** proto.md "Option types". */
export const NbdOpt = {
  EXPORT_NAME: 1,
  ABORT: 2,
  LIST: 3,
  STARTTLS: 5,
  INFO: 6,
  GO: 7,
  STRUCTURED_REPLY: 8,
  LIST_META_CONTEXT: 9,
  SET_META_CONTEXT: 10,
} as const;
/** proto.md "Option reply types"; errors have bit 31. */
export const NbdRep = {
  ACK: 1,
  SERVER: 2,
  INFO: 3,
  META_CONTEXT: 4,
  ERR_UNSUP: 0x8000_0001,
  ERR_POLICY: 0x8000_0002,
  ERR_INVALID: 0x8000_0003,
  ERR_TLS_REQD: 0x8000_0005,
  ERR_UNKNOWN: 0x8000_0006,
  ERR_TOO_BIG: 0x8000_0009,
} as const;
export const NbdInfo = { EXPORT: 0, NAME: 1, DESCRIPTION: 2, BLOCK_SIZE: 3 } as const;
/** proto.md "Request types". */
export const NbdCmd = {
  READ: 0,
  WRITE: 1,
  DISC: 2,
  FLUSH: 3,
  TRIM: 4,
  CACHE: 5,
  WRITE_ZEROES: 6,
  BLOCK_STATUS: 7,
} as const;
export const CmdFlag = {
  FUA: 1 << 0,
  NO_HOLE: 1 << 1,
  DF: 1 << 2,
  REQ_ONE: 1 << 3,
  FAST_ZERO: 1 << 4,
} as const;

/** proto.md "Error values". */
const errnos = {
  EPERM: 1,
  EIO: 5,
  ENOMEM: 12,
  EINVAL: 22,
  ENOSPC: 28,
  ENOTSUP: 95,
  ESHUTDOWN: 108,
} as const satisfies Record<IoCode, number>;

export const errnoOf = (code: IoCode): number => errnos[code];

export function codeOfErrno(errno: number): IoCode {
  for (const [code, value] of Object.entries(errnos)) if (value === errno) return code as IoCode;
  return 'EIO';
}

/**
 * An offset of 64 bits as a number: beyond 2^53 it loses its last bits, but no export is that long
 * and the range check refuses it.
 */
const offset64: Field<number> = {
  size: 8,
  reset: () => 0,
  write(w, value) {
    const at = w.reserve(8);
    w.target.writeUInt32BE(Math.floor(value / 2 ** 32), at);
    w.target.writeUInt32BE(value % 2 ** 32, at + 4);
  },
  read(r) {
    const at = r.take(8);
    return r.source.readUInt32BE(at) * 2 ** 32 + r.source.readUInt32BE(at + 4);
  },
};

/** Opaque to the server. */
const cookie = bytes(8);

/** Greeting of the server. */
export const greeting = record({ magic: bytes(8), option: bytes(8), flags: u16 });
export const clientFlags = record({ flags: u32 });
/** Client's option; `length` bytes of data follow. */
export const optionRequest = record({ magic: bytes(8), option: u32, length: u32 });
/** Server's answer; `length` bytes of data follow. */
export const optionReply = record({
  magicHigh: u32.is(REPLY_MAGIC[0]),
  magicLow: u32.is(REPLY_MAGIC[1]),
  option: u32,
  type: u32,
  length: u32,
});
/** NBD_INFO_EXPORT, and the plain answer to EXPORT_NAME without its type. */
export const infoExport = record({ type: u16.is(NbdInfo.EXPORT), size: offset64, flags: u16 });
export const infoBlockSize = record({
  type: u16.is(NbdInfo.BLOCK_SIZE),
  minimum: u32,
  preferred: u32,
  maximum: u32,
});
export const exportNameReply = record({ size: offset64, flags: u16 });
/** Transmission; data follows a WRITE. */
export const request = record({
  magic: u32.is(0x2560_9513),
  flags: u16,
  type: u16,
  cookie,
  offset: offset64,
  length: u32,
});
/** Data follows a successful READ. */
export const simpleReply = record({ magic: u32.is(0x6744_6698), error: u32, cookie });

export type NbdRequest = ReturnType<typeof request.decode>;

export const sizeOf = (layout: { size: number | undefined }): number => layout.size!;

export function encodeOption(option: number, data: Uint8Array): Buffer {
  return Buffer.concat([
    optionRequest.encode({ magic: OPTION_MAGIC, option, length: data.length }),
    data,
  ]);
}

export function encodeOptionReply(
  option: number,
  type: number,
  data: Uint8Array = new Uint8Array(),
): Buffer {
  return Buffer.concat([
    optionReply.encode({
      magicHigh: REPLY_MAGIC[0],
      magicLow: REPLY_MAGIC[1],
      option,
      type,
      length: data.length,
    }),
    data,
  ]);
}

export function encodeRequest(
  type: number,
  flags: number,
  cookieNumber: number,
  offset: number,
  length: number,
): Buffer {
  return request.encode({
    magic: 0x2560_9513,
    flags,
    type,
    cookie: encodeCookie(cookieNumber),
    offset,
    length,
  });
}

/** The same as the declaration above; straight, for each request passes here. */
export function decodeRequest(data: Buffer): NbdRequest {
  const magic = data.readUInt32BE(0);
  if (magic !== 0x2560_9513)
    throw new VmError(`the NBD client sends 0x${magic.toString(16)} where a request must begin`);
  return {
    magic,
    flags: data.readUInt16BE(4),
    type: data.readUInt16BE(6),
    cookie: data.subarray(8, 16),
    offset: data.readUInt32BE(16) * 2 ** 32 + data.readUInt32BE(20),
    length: data.readUInt32BE(24),
  };
}

/** errno 0, and what was read. One buffer, as long as a copy costs less than a second write. */
export function encodeReadReply(replyCookie: Buffer, data: Uint8Array): Uint8Array[] {
  const head = Buffer.allocUnsafe(data.length <= COPY_BELOW ? 16 + data.length : 16);
  head.writeUInt32BE(0x6744_6698, 0);
  head.writeUInt32BE(0, 4);
  head.set(replyCookie, 8);
  if (head.length === 16 && data.length > 0) return [head, data];
  head.set(data, 16);
  return [head];
}

export function encodeSimpleReply(replyCookie: Buffer, errno: number): Buffer {
  return simpleReply.encode({ magic: 0x6744_6698, error: errno, cookie: replyCookie });
}

export function encodeCookie(value: number): Buffer {
  const out = Buffer.alloc(8);
  out.writeUIntBE(value, 2, 6);
  return out;
}

/** -1 for a cookie that we never gave. */
export function decodeCookie(data: Buffer): number {
  return data.readUInt16BE(0) === 0 ? data.readUIntBE(2, 6) : -1;
}

/**
 * Data of GO and INFO: u32 length, name, u16 count, that many u16 information types. Undefined when
 * malformed.
 */
export function decodeGo(data: Buffer): { name: string; wanted: number[] } | undefined {
  if (data.length < 6) return undefined;
  const nameLength = data.readUInt32BE(0);
  if (nameLength > data.length - 6) return undefined;
  const count = data.readUInt16BE(4 + nameLength);
  if (data.length !== 6 + nameLength + 2 * count) return undefined;
  const wanted = Array.from({ length: count }, (_, i) => data.readUInt16BE(6 + nameLength + 2 * i));
  return { name: data.toString('utf8', 4, 4 + nameLength), wanted };
}

export function encodeGo(name: string, wanted: readonly number[]): Buffer {
  const text = Buffer.from(name, 'utf8');
  const out = Buffer.alloc(6 + text.length + 2 * wanted.length);
  out.writeUInt32BE(text.length, 0);
  text.copy(out, 4);
  out.writeUInt16BE(wanted.length, 4 + text.length);
  wanted.forEach((type, i) => out.writeUInt16BE(type, 6 + text.length + 2 * i));
  return out;
}

/** A list entry: u32 length and the name. */
export function encodeListEntry(name: string): Buffer {
  const text = Buffer.from(name, 'utf8');
  const length = Buffer.alloc(4);
  length.writeUInt32BE(text.length);
  return Buffer.concat([length, text]);
}

/** proto.md "Structured reply chunk message"; errors have bit 15. */
export const ChunkType = {
  NONE: 0,
  OFFSET_DATA: 1,
  OFFSET_HOLE: 2,
  BLOCK_STATUS: 5,
  ERROR: 0x8001,
  ERROR_OFFSET: 0x8002,
} as const;
export const CHUNK_DONE = 1;
export const structuredReply = record({
  magic: u32.is(0x668e_33ef),
  flags: u16,
  type: u16,
  cookie,
  length: u32,
});

/** One chunk, its data in parts; last: nothing follows for this request. */
export function encodeReplyChunk(
  replyCookie: Buffer,
  type: number,
  parts: readonly Uint8Array[],
  last = true,
): Uint8Array[] {
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  const head = structuredReply.encode({
    magic: 0x668e_33ef,
    flags: last ? CHUNK_DONE : 0,
    type,
    cookie: replyCookie,
    length,
  });
  if (length <= COPY_BELOW) return [Buffer.concat([head, ...parts], head.length + length)];
  return [head, ...parts];
}

export function encodeOffset(value: number): Buffer {
  const out = Buffer.alloc(8);
  out.writeBigUInt64BE(BigInt(value));
  return out;
}

export function encodeErrorChunk(
  replyCookie: Buffer,
  errno: number,
  message: string,
): Uint8Array[] {
  const text = Buffer.from(message, 'utf8').subarray(0, 1024);
  const head = Buffer.alloc(6);
  head.writeUInt32BE(errno, 0);
  head.writeUInt16BE(text.length, 4);
  return encodeReplyChunk(replyCookie, ChunkType.ERROR, [head, text]);
}

/**
 * Data of LIST_ and SET_META_CONTEXT: export name, u32 count, that many strings. Undefined when
 * malformed.
 */
export function decodeMetaContext(data: Buffer): { name: string; queries: string[] } | undefined {
  let at = 0;
  const number = () => {
    at += 4;
    return at <= data.length ? data.readUInt32BE(at - 4) : Infinity;
  };
  const text = () => {
    const length = number();
    at += length;
    return at <= data.length ? data.toString('utf8', at - length, at) : undefined;
  };
  const name = text();
  if (name === undefined) return undefined;
  const count = number();
  const queries: string[] = [];
  for (let n = 0; n < count; n++) {
    const query = text();
    if (query === undefined) return undefined;
    queries.push(query);
  }
  return at === data.length ? { name, queries } : undefined;
}

export function encodeMetaQuery(name: string, queries: readonly string[]): Buffer {
  const count = Buffer.alloc(4);
  count.writeUInt32BE(queries.length);
  return Buffer.concat([encodeListEntry(name), count, ...queries.map(encodeListEntry)]);
}

export function encodeMetaContext(id: number, name: string): Buffer {
  const out = Buffer.alloc(4);
  out.writeUInt32BE(id);
  return Buffer.concat([out, Buffer.from(name, 'utf8')]);
}
