/**
 * What a request of an NBD client does to its export, and the reply that it gets: simple, or in
 * chunks where that was agreed.
 */
import { asVmError } from '../../base/errors.js';
import type { BlockBackend } from '../contract/backend.js';
import type { BlockStatus } from '../contract/driver.js';
import { ioCode, ioError, unlessAssertion } from '../contract/io-error.js';
import * as nbd from './codec.js';
import {
  BASE_ALLOCATION,
  type Dialect,
  type ExportFacts,
  type ServerRequest,
} from './server-protocol.js';

export interface ServedExport extends ExportFacts {
  readonly backend: BlockBackend;
  /** Zeroes can be written faster than data. */
  readonly fastZeroes: boolean;
  /** This client may write now. */
  mayWrite(client: object): boolean;
  /** What is data and what reads as zeroes, if the disk can tell. */
  blockStatus?(offset: number, length: number): Promise<BlockStatus>;
}

/** proto.md, NBD_STATE_HOLE and NBD_STATE_ZERO. */
const HOLE = 1;
const ZERO = 2;
const MAX_STATUS_RUNS = 1024;
const MAX_CHUNKS = 256;
/** Below, to ask where the holes are costs more than to send them. */
const SPARSE_FROM = 64 * 1024;
/** Zeroes that must take up space, and reads ahead, in pieces of this length. */
const STEP = 1024 * 1024;
const zeroes = Buffer.alloc(STEP);
const noData = Buffer.alloc(0);

const commandFlags: Record<number, number> = {
  [nbd.NbdCmd.READ]: nbd.CmdFlag.DF,
  [nbd.NbdCmd.WRITE]: nbd.CmdFlag.FUA,
  [nbd.NbdCmd.FLUSH]: 0,
  [nbd.NbdCmd.TRIM]: nbd.CmdFlag.FUA,
  [nbd.NbdCmd.CACHE]: 0,
  [nbd.NbdCmd.BLOCK_STATUS]: nbd.CmdFlag.REQ_ONE,
  [nbd.NbdCmd.WRITE_ZEROES]: nbd.CmdFlag.FUA | nbd.CmdFlag.NO_HOLE | nbd.CmdFlag.FAST_ZERO,
};

/** Who asks, and how. */
export interface Asking {
  readonly client: object;
  readonly dialect: Dialect;
  readonly maxRequest: number;
}

const isChange = (type: number) =>
  type === nbd.NbdCmd.WRITE || type === nbd.NbdCmd.TRIM || type === nbd.NbdCmd.WRITE_ZEROES;

/** Does it; the reply, in parts. Errors are replies, too. */
export async function answer(
  served: ServedExport,
  { client, dialect, maxRequest }: Asking,
  request: ServerRequest,
): Promise<Uint8Array[]> {
  try {
    check(served, dialect, maxRequest, request);
    if (isChange(request.type) && !served.mayWrite(client))
      throw ioError('EPERM', 'another client writes to this export, and only one may');
    if (request.type === nbd.NbdCmd.READ) return await read(served, dialect, request);
    if (request.type === nbd.NbdCmd.BLOCK_STATUS) return await status(served, request);
    await change(served, request);
    return [nbd.encodeSimpleReply(request.cookie, 0)];
  } catch (error) {
    return failure(dialect, request, unlessAssertion(error));
  }
}

function check(
  served: ServedExport,
  dialect: Dialect,
  maxRequest: number,
  { type, flags, offset, length }: ServerRequest,
): void {
  const allowed = commandFlags[type];
  if (allowed === undefined) throw ioError('EINVAL', `NBD command ${type} is not known`);
  if ((flags & ~allowed) !== 0)
    throw ioError(
      'EINVAL',
      `NBD command ${type} does not take flags 0x${(flags & ~allowed).toString(16)}`,
    );
  if (type === nbd.NbdCmd.FLUSH) return;
  const changes = isChange(type);
  if (changes && !served.writable) throw ioError('EPERM', 'the export is read-only');
  if ((type === nbd.NbdCmd.READ || type === nbd.NbdCmd.WRITE) && length > maxRequest)
    throw ioError('EINVAL', `a request has at most ${maxRequest} bytes, this one ${length}`);
  if (offset + length > served.size)
    throw ioError(
      changes ? 'ENOSPC' : 'EINVAL',
      `${length} bytes at ${offset} reach beyond the end of the export, ${served.size}`,
    );
  if (type !== nbd.NbdCmd.BLOCK_STATUS) return;
  if (!dialect.blockStatus) throw ioError('EINVAL', 'block status was not negotiated');
  if (length === 0) throw ioError('EINVAL', 'block status of no bytes');
}

async function change(
  { backend, fastZeroes }: ServedExport,
  { type, flags, offset, length, data }: ServerRequest,
): Promise<void> {
  const fua = (flags & nbd.CmdFlag.FUA) !== 0;
  if (type === nbd.NbdCmd.WRITE) return backend.pwrite(offset, data!, { fua });
  if (type === nbd.NbdCmd.FLUSH) return backend.flush();
  if (type === nbd.NbdCmd.CACHE) return readAhead(backend, offset, length);
  if (type === nbd.NbdCmd.TRIM) await backend.discard(offset, length);
  else {
    const allocate = (flags & nbd.CmdFlag.NO_HOLE) !== 0;
    if ((flags & nbd.CmdFlag.FAST_ZERO) !== 0 && (allocate || !fastZeroes))
      throw ioError('ENOTSUP', 'zeroes are not faster than data here');
    if (allocate) await writeSpace(backend, offset, length);
    else await backend.writeZeroes(offset, length);
  }
  if (fua) await backend.flush();
}

/** NO_HOLE: the range shall never fail for want of space, so it is written. */
async function writeSpace(backend: BlockBackend, offset: number, length: number): Promise<void> {
  for (let at = 0; at < length; at += STEP)
    await backend.pwrite(offset + at, zeroes.subarray(0, Math.min(STEP, length - at)));
}

/** The host's page cache keeps what it can. */
async function readAhead(backend: BlockBackend, offset: number, length: number): Promise<void> {
  for (let at = 0; at < length; at += STEP)
    await backend.pread(offset + at, Math.min(STEP, length - at));
}

async function read(
  served: ServedExport,
  { structured }: Dialect,
  { cookie, flags, offset, length }: ServerRequest,
): Promise<Uint8Array[]> {
  if (!structured)
    return nbd.encodeReadReply(
      cookie,
      length === 0 ? noData : await served.backend.pread(offset, length),
    );
  if (length === 0) return nbd.encodeReplyChunk(cookie, nbd.ChunkType.NONE, []);
  const whole = (flags & nbd.CmdFlag.DF) !== 0 || length < SPARSE_FROM || !served.blockStatus;
  const out: Uint8Array[] = [];
  for (let at = offset, end = offset + length, chunks = 1; at < end; chunks++) {
    const run =
      whole || chunks === MAX_CHUNKS
        ? { length: end - at, zero: false }
        : await served.blockStatus!(at, end - at);
    const last = at + run.length === end;
    if (run.zero) {
      const hole = Buffer.alloc(4);
      hole.writeUInt32BE(run.length);
      out.push(
        ...nbd.encodeReplyChunk(
          cookie,
          nbd.ChunkType.OFFSET_HOLE,
          [nbd.encodeOffset(at), hole],
          last,
        ),
      );
    } else
      out.push(
        ...nbd.encodeReplyChunk(
          cookie,
          nbd.ChunkType.OFFSET_DATA,
          [nbd.encodeOffset(at), await served.backend.pread(at, run.length)],
          last,
        ),
      );
    at += run.length;
  }
  return out;
}

/** Runs of base:allocation. */
async function status(
  served: ServedExport,
  { cookie, flags, offset, length }: ServerRequest,
): Promise<Uint8Array[]> {
  const runs: { length: number; flags: number }[] = [];
  const most = flags & nbd.CmdFlag.REQ_ONE ? 1 : MAX_STATUS_RUNS;
  for (let at = offset, end = offset + length; at < end;) {
    const found = (await served.blockStatus?.(at, end - at)) ?? { length: end - at, zero: false };
    const state = found.zero ? HOLE | ZERO : 0;
    const last = runs[runs.length - 1];
    if (last?.flags === state) last.length += found.length;
    else if (runs.length === most) break;
    else runs.push({ length: found.length, flags: state });
    at += found.length;
  }
  const out = Buffer.alloc(4 + 8 * runs.length);
  out.writeUInt32BE(BASE_ALLOCATION, 0);
  runs.forEach((run, n) => {
    out.writeUInt32BE(run.length, 4 + 8 * n);
    out.writeUInt32BE(run.flags, 8 + 8 * n);
  });
  return nbd.encodeReplyChunk(cookie, nbd.ChunkType.BLOCK_STATUS, [out]);
}

function failure(
  { structured }: Dialect,
  { cookie, type }: ServerRequest,
  error: unknown,
): Uint8Array[] {
  const errno = nbd.errnoOf(ioCode(error));
  const chunked = structured && (type === nbd.NbdCmd.READ || type === nbd.NbdCmd.BLOCK_STATUS);
  return chunked
    ? nbd.encodeErrorChunk(cookie, errno, asVmError(error).message)
    : [nbd.encodeSimpleReply(cookie, errno)];
}
