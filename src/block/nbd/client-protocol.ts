/**
 * The client's half of NBD as straight lines: handshake, then replies, simple or in chunks. The
 * server is untrusted input.
 */
import { VmError } from '../../base/errors.js';
import { printable } from '../../base/printable.js';
import { type IoCode, ioError } from '../contract/io-error.js';
import * as nbd from './codec.js';
import type { Protocol } from './machine.js';

export interface NbdExportInfo {
  size: number;
  flags: number;
  /** Longest READ or WRITE. */
  maxTransfer: number;
  /** Replies come in chunks. */
  structured: boolean;
  /** Number of base:allocation, if the server knows it. */
  allocation?: number;
}

export interface ClientHandshakeOptions {
  exportName: string;
  /** Begin with TLS, or not at all. */
  tls: boolean;
}

/** proto.md "Block size constraints": what a server that says nothing must take. */
const DEFAULT_MAX = 32 * 1024 * 1024;
const MAX_REPLY_DATA = 64 * 1024;
const MAX_OPTION_REPLIES = 64;
const ALLOCATION = 'base:allocation';

export function* clientHandshake({
  exportName,
  tls,
}: ClientHandshakeOptions): Protocol<NbdExportInfo> {
  const greeting = nbd.greeting.decode(yield { need: nbd.sizeOf(nbd.greeting) });
  if (!greeting.magic.equals(nbd.NBD_MAGIC) || !greeting.option.equals(nbd.OPTION_MAGIC))
    throw new VmError('the peer does not speak new-style NBD');
  if (!(greeting.flags & nbd.HandshakeFlag.FIXED_NEWSTYLE))
    throw new VmError('the NBD server does not speak fixed new-style');
  const noZeroes = (greeting.flags & nbd.HandshakeFlag.NO_ZEROES) !== 0;
  const flags = nbd.HandshakeFlag.FIXED_NEWSTYLE | (noZeroes ? nbd.HandshakeFlag.NO_ZEROES : 0);
  yield { send: nbd.clientFlags.encode({ flags }) };
  if (tls) yield* startTls();
  const structured =
    (yield* ask(nbd.NbdOpt.STRUCTURED_REPLY, Buffer.alloc(0))).refusal === undefined;
  const allocation = structured ? yield* allocationContext(exportName) : undefined;
  return (
    (yield* go(exportName, structured, allocation)) ??
    (yield* exportNameOption(exportName, noZeroes, structured))
  );
}

interface Answers {
  replies: { type: number; data: Buffer }[];
  refusal?: { type: number; said: string };
}

/** One option and all its replies. */
function* ask(option: number, data: Uint8Array): Protocol<Answers> {
  yield { send: nbd.encodeOption(option, data) };
  const replies: Answers['replies'] = [];
  while (replies.length < MAX_OPTION_REPLIES) {
    const reply = nbd.optionReply.decode(yield { need: nbd.sizeOf(nbd.optionReply) });
    if (reply.option !== option)
      throw new VmError(
        `the NBD server answers option ${reply.option}, where option ${option} was asked`,
      );
    if (reply.length > MAX_REPLY_DATA)
      throw new VmError(
        `the NBD server's answer to option ${option} has ${reply.length} bytes, which is too long`,
      );
    const body = yield { need: reply.length };
    if (reply.type >= 0x8000_0000)
      return { replies, refusal: { type: reply.type, said: said(body) } };
    if (reply.type === nbd.NbdRep.ACK) return { replies };
    replies.push({ type: reply.type, data: body });
  }
  throw new VmError(`the NBD server does not come to an end with its answers to option ${option}`);
}

function* startTls(): Protocol {
  const { refusal } = yield* ask(nbd.NbdOpt.STARTTLS, Buffer.alloc(0));
  if (refusal)
    throw new VmError(
      'the NBD server does not speak TLS ' +
        `(0x${refusal.type.toString(16)})${refusal.said && `: ${refusal.said}`}`,
    );
  yield { startTls: true };
}

function* allocationContext(exportName: string): Protocol<number | undefined> {
  const { replies } = yield* ask(
    nbd.NbdOpt.SET_META_CONTEXT,
    nbd.encodeMetaQuery(exportName, [ALLOCATION]),
  );
  const found = replies.find(
    ({ type, data }) =>
      type === nbd.NbdRep.META_CONTEXT &&
      data.length >= 4 &&
      data.toString('utf8', 4) === ALLOCATION,
  );
  return found?.data.readUInt32BE(0);
}

/** Undefined: the server does not know NBD_OPT_GO. */
function* go(
  exportName: string,
  structured: boolean,
  allocation: number | undefined,
): Protocol<NbdExportInfo | undefined> {
  const { replies, refusal } = yield* ask(
    nbd.NbdOpt.GO,
    nbd.encodeGo(exportName, [nbd.NbdInfo.BLOCK_SIZE]),
  );
  if (refusal?.type === nbd.NbdRep.ERR_UNSUP) return undefined;
  if (refusal) throw refused(exportName, refusal);
  let found: { size: number; flags: number } | undefined;
  let maxTransfer = DEFAULT_MAX;
  for (const { type, data } of replies) {
    if (type !== nbd.NbdRep.INFO || data.length < 2) continue;
    const kind = data.readUInt16BE(0);
    if (kind === nbd.NbdInfo.EXPORT) found = checked(nbd.infoExport.decode(data));
    if (kind === nbd.NbdInfo.BLOCK_SIZE)
      maxTransfer = transferBound(nbd.infoBlockSize.decode(data));
  }
  if (!found) throw new VmError('the NBD server did not describe the export');
  return { ...found, maxTransfer, structured, allocation };
}

/** The server closes the connection when it does not know the name. */
function* exportNameOption(
  exportName: string,
  noZeroes: boolean,
  structured: boolean,
): Protocol<NbdExportInfo> {
  yield { send: nbd.encodeOption(nbd.NbdOpt.EXPORT_NAME, Buffer.from(exportName, 'utf8')) };
  const info = checked(nbd.exportNameReply.decode(yield { need: nbd.sizeOf(nbd.exportNameReply) }));
  if (!noZeroes) yield { skip: 124 };
  return { ...info, maxTransfer: DEFAULT_MAX, structured };
}

/** What was asked under a cookie. */
export interface Expected {
  readonly type: number;
  readonly offset: number;
  readonly length: number;
}

export interface ReplySink {
  /** Undefined for a cookie that is not pending. */
  expected(cookie: number): Expected | undefined;
  settle(cookie: number, result: { data: Buffer } | { errno: number; said: string }): void;
}

const MAGIC = { simple: 0x6744_6698, structured: 0x668e_33ef } as const;
/** Both kinds of reply have the cookie at the same place. */
const HEAD = 16;
const MAX_ERROR = 8 * 1024;
const MAX_CHUNKS = 65_536;
/** Pieces of one reply that do not touch: each new one is held against all of them. */
const MAX_PIECES = 1024;
const NOTHING = Buffer.alloc(0);

export function* clientReplies(info: () => NbdExportInfo, sink: ReplySink): Protocol {
  const partial = new Map<number, PartialReply>();
  for (;;) {
    const head = yield { need: HEAD, idle: true };
    const magic = head.readUInt32BE(0);
    const cookie = nbd.decodeCookie(head.subarray(8, 16));
    const wanted = sink.expected(cookie);
    if (magic !== MAGIC.simple && !(magic === MAGIC.structured && info().structured))
      throw new VmError(`the NBD server sends 0x${magic.toString(16)} where a reply must begin`);
    if (!wanted) throw new VmError('the NBD server answers a request that was not made');
    if (magic === MAGIC.simple)
      yield* simpleReply(head.readUInt32BE(4), cookie, wanted, info(), sink);
    else {
      const reply = partial.get(cookie) ?? new PartialReply(wanted, info().allocation);
      const done = (head.readUInt16BE(4) & nbd.CHUNK_DONE) !== 0;
      yield* reply.chunk(head.readUInt16BE(6), done);
      if (done) {
        partial.delete(cookie);
        sink.settle(cookie, reply.result());
      } else partial.set(cookie, reply);
    }
  }
}

function* simpleReply(
  errno: number,
  cookie: number,
  { type, length }: Expected,
  info: NbdExportInfo,
  sink: ReplySink,
): Protocol {
  const chunked = info.structured && (type === nbd.NbdCmd.READ || type === nbd.NbdCmd.BLOCK_STATUS);
  // Some servers answer errors so.
  if (chunked && errno === 0)
    throw new VmError('the NBD server sends a simple reply where a structured one was agreed');
  if (errno !== 0) return sink.settle(cookie, { errno, said: '' });
  sink.settle(cookie, { data: type === nbd.NbdCmd.READ ? yield { need: length } : NOTHING });
}

/** A reply that is put together from chunks. */
class PartialReply {
  private data?: Buffer;
  private readonly covered: { from: number; to: number }[] = [];
  private error?: { errno: number; said: string };
  private chunks = 0;

  constructor(
    private readonly wanted: Expected,
    private readonly allocation: number | undefined,
  ) {}

  *chunk(type: number, done: boolean): Protocol {
    const length = (yield { need: 4 }).readUInt32BE(0);
    if (++this.chunks > MAX_CHUNKS)
      throw new VmError('the NBD server sends a reply of too many chunks');
    if (type & 0x8000)
      return this.failed(
        type,
        length > MAX_ERROR ? tooLong('error', length) : yield { need: length },
      );
    const { READ, BLOCK_STATUS } = nbd.NbdCmd;
    if (type === nbd.ChunkType.NONE) {
      if (length !== 0 || !done)
        throw new VmError('the NBD server sends an empty chunk that is not the last or not empty');
    } else if (type === nbd.ChunkType.OFFSET_DATA && this.wanted.type === READ) {
      if (length <= 8 || length - 8 > this.wanted.length) tooLong('data', length);
      const from = this.place(readOffset(yield { need: 8 }), length - 8);
      const data = yield { need: length - 8 };
      if (data.length === this.wanted.length) this.data = data;
      else this.whole().set(data, from);
    } else if (type === nbd.ChunkType.OFFSET_HOLE && this.wanted.type === READ) {
      if (length !== 12) tooLong('hole', length);
      const hole = yield { need: 12 };
      this.place(readOffset(hole), hole.readUInt32BE(8));
      this.whole();
    } else if (type === nbd.ChunkType.BLOCK_STATUS && this.wanted.type === BLOCK_STATUS) {
      if (length < 12 || (length - 4) % 8 !== 0 || length > 4 + 8 * MAX_CHUNKS)
        tooLong('block status', length);
      this.status(yield { need: length });
    } else
      throw new VmError(
        `the NBD server sends a chunk of type ${type}, which does not answer request type ` +
          `${this.wanted.type}`,
      );
  }

  result(): { data: Buffer } | { errno: number; said: string } {
    if (this.error) return this.error;
    const { type, length } = this.wanted;
    const got = this.covered.reduce((sum, { from, to }) => sum + to - from, 0);
    if (type === nbd.NbdCmd.READ && got !== length)
      throw new VmError(`the NBD server's reply has ${got} bytes of ${length}`);
    if (type === nbd.NbdCmd.BLOCK_STATUS && !this.data)
      throw new VmError('the NBD server ends a block status without one');
    return { data: this.data ?? NOTHING };
  }

  private whole(): Buffer {
    return (this.data ??= Buffer.alloc(this.wanted.length));
  }

  private place(offset: number, length: number): number {
    const from = offset - this.wanted.offset;
    const to = from + length;
    if (length === 0 || from < 0 || to > this.wanted.length)
      throw new VmError(
        `the NBD server's chunk of ${length} bytes at ${offset} is outside of what was asked`,
      );
    if (this.covered.some(other => from < other.to && other.from < to))
      throw new VmError(`the NBD server's chunk at ${offset} overlaps another`);
    const last = this.covered[this.covered.length - 1];
    // In order, as servers send them, this stays one range.
    if (last?.to === from) last.to = to;
    else if (this.covered.length === MAX_PIECES)
      throw new VmError(
        `the NBD server's reply comes in more than ${MAX_PIECES} pieces that do not touch`,
      );
    else this.covered.push({ from, to });
    return from;
  }

  private status(data: Buffer): void {
    if (this.data || data.readUInt32BE(0) !== this.allocation)
      throw new VmError(
        `the NBD server sends the status of context ${data.readUInt32BE(0)}, which was not asked`,
      );
    for (let at = 4; at < data.length; at += 8)
      if (data.readUInt32BE(at) === 0)
        throw new VmError('the NBD server sends the status of no bytes');
    this.data = data.subarray(4);
  }

  private failed(type: number, data: Buffer): void {
    const errno = data.length >= 6 ? data.readUInt32BE(0) : 0;
    const end = data.length >= 6 ? 6 + data.readUInt16BE(4) : Infinity;
    if (errno === 0 || end > data.length)
      throw new VmError(`the NBD server sends an error chunk (type ${type}) that is malformed`);
    this.error ??= { errno, said: said(data.subarray(6, end)) };
  }
}

function tooLong(what: string, length: number): never {
  throw new VmError(
    `the NBD server sends a chunk of ${what} with ${length} bytes, which cannot be`,
  );
}

const readOffset = (data: Buffer): number => data.readUInt32BE(0) * 2 ** 32 + data.readUInt32BE(4);

function checked(info: { size: number; flags: number }): { size: number; flags: number } {
  if (!Number.isSafeInteger(info.size))
    throw new VmError(
      `the NBD export has ${BigInt(info.size)} bytes, more than can be addressed here, 2^53`,
    );
  if (info.size % 512 !== 0)
    throw new VmError(`the NBD export has ${info.size} bytes, not a whole number of sectors`);
  return { size: info.size, flags: info.flags & nbd.ExportFlag.HAS_FLAGS ? info.flags : 0 };
}

function transferBound(sizes: { minimum: number; maximum: number }): number {
  if (sizes.minimum > 512)
    throw new VmError(`the NBD export takes whole blocks of ${sizes.minimum} bytes only`);
  if (sizes.maximum < 512)
    throw new VmError(
      `the NBD export takes at most ${sizes.maximum} bytes at once, which is less than a sector`,
    );
  const bound = Math.min(sizes.maximum, DEFAULT_MAX);
  return bound - (bound % 512);
}

const said = (data: Buffer) => printable(data.toString('utf8'), 200);

function refused(exportName: string, { type, said }: { type: number; said: string }): VmError {
  if (type === nbd.NbdRep.ERR_UNKNOWN)
    return new VmError(`the NBD server has no export '${exportName}'${said && `: ${said}`}`);
  if (type === nbd.NbdRep.ERR_TLS_REQD)
    return new VmError(`the NBD server requires TLS for export '${exportName}'`, {
      hint: 'Say tls-creds=ID, with -object tls-creds-x509 or tls-creds-psk.',
    });
  return new VmError(
    `the NBD server refuses export '${exportName}' (0x${type.toString(16)})${said && `: ${said}`}`,
  );
}

/** What a request fails with when the server says so. */
export function answeredError(
  exportName: string,
  { errno, said }: { errno: number; said: string },
): VmError {
  const code: IoCode = nbd.codeOfErrno(errno);
  return ioError(
    code,
    `the NBD server of export '${exportName}' answers error ${errno}${said && `: ${said}`}`,
  );
}
