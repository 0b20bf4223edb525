/**
 * The server's half of NBD as straight lines: negotiation, then requests. The client is untrusted
 * input: what it may not do is answered, not crashed on.
 */
import { VmError } from '../../base/errors.js';
import * as nbd from './codec.js';
import type { Protocol } from './machine.js';

/** What negotiation must know of an export. */
export interface ExportFacts {
  readonly name: string;
  readonly size: number;
  readonly writable: boolean;
}

export interface ServerLimits {
  /** Longest READ or WRITE; proto.md asks for at least 32 MiB. */
  requestBytes: number;
  /** Requests and their bytes in flight for one client: beyond, its socket is not read. */
  inFlight: number;
  inFlightBytes: number;
  clients: number;
  /** Negotiation must be over by then. */
  handshakeMs: number;
  /**
   * A client that has begun a request or has answers to take, and does nothing, is dropped after
   * once to twice that. One that wants nothing may stay.
   */
  stallMs: number;
}

export const defaultServerLimits: ServerLimits = {
  requestBytes: 32 * 1024 * 1024,
  inFlight: 64,
  inFlightBytes: 64 * 1024 * 1024,
  clients: 16,
  handshakeMs: 10_000,
  stallMs: 60_000,
};

const MAX_OPTION = 8 * 1024;
const MAX_OPTIONS = 64;
const MAX_NAME = 4096;

export type ServerRequest = nbd.NbdRequest & { data?: Buffer };

/** What a client has negotiated beside its export. */
export interface Dialect {
  /** Replies in chunks. */
  structured: boolean;
  /** base:allocation may be asked for, under BASE_ALLOCATION. */
  blockStatus: boolean;
}
export const BASE_ALLOCATION = 1;
const CONTEXT = 'base:allocation';

/** What the server is willing to speak. */
export interface ServerHandshakeOptions {
  maxRequest: number;
  /** Nothing but TLS: everything else is refused until the client has begun it. */
  tls: boolean;
}

interface Negotiation {
  readonly dialect: Dialect;
  readonly noZeroes: boolean;
  /** TLS is needed, or has begun already. */
  tls: 'none' | 'wanted' | 'begun';
  context?: { name: string };
}

/** Ends without an export when the client says goodbye. */
export function* negotiate<E extends ExportFacts>(
  exports: () => E[],
  options: ServerHandshakeOptions,
): Protocol<{ chosen: E; dialect: Dialect } | undefined> {
  const ours = nbd.HandshakeFlag.FIXED_NEWSTYLE | nbd.HandshakeFlag.NO_ZEROES;
  yield {
    send: nbd.greeting.encode({ magic: nbd.NBD_MAGIC, option: nbd.OPTION_MAGIC, flags: ours }),
  };
  const { flags } = nbd.clientFlags.decode(yield { need: nbd.sizeOf(nbd.clientFlags) });
  if ((flags & ~ours) !== 0) throw new VmError(`unknown NBD client flags 0x${flags.toString(16)}`);
  const state: Negotiation = {
    dialect: { structured: false, blockStatus: false },
    noZeroes: (flags & nbd.HandshakeFlag.NO_ZEROES) !== 0,
    tls: options.tls ? 'wanted' : 'none',
  };
  for (let n = 0; n < MAX_OPTIONS; n++) {
    const { magic, option, length } = nbd.optionRequest.decode(
      yield { need: nbd.sizeOf(nbd.optionRequest) },
    );
    if (!magic.equals(nbd.OPTION_MAGIC))
      throw new VmError('the NBD client does not send an option where one must stand');
    if (length > MAX_OPTION) {
      yield { skip: length };
      yield refusal(option, nbd.NbdRep.ERR_TOO_BIG, `an option has at most ${MAX_OPTION} bytes`);
      continue;
    }
    const data = yield { need: length };
    if (option === nbd.NbdOpt.ABORT) {
      yield { send: nbd.encodeOptionReply(option, nbd.NbdRep.ACK) };
      return undefined;
    }
    const chosen =
      state.tls === 'wanted'
        ? yield* beforeTls(option, length, state)
        : yield* oneOption(option, data, exports(), options, state);
    if (chosen)
      return {
        chosen,
        dialect: { ...state.dialect, blockStatus: state.context?.name === chosen.name },
      };
  }
  throw new VmError(`more than ${MAX_OPTIONS} options in one NBD negotiation`);
}

const refusal = (option: number, type: number, why: string) => ({
  send: nbd.encodeOptionReply(option, type, Buffer.from(why)),
});

function* beforeTls(option: number, length: number, state: Negotiation): Protocol<undefined> {
  // The option has no error reply: proto.md asks for the connection to be closed.
  if (option === nbd.NbdOpt.EXPORT_NAME)
    throw new VmError('the NBD client asks for an export without TLS, which is required');
  if (option !== nbd.NbdOpt.STARTTLS)
    yield refusal(option, nbd.NbdRep.ERR_TLS_REQD, 'TLS is required');
  else if (length > 0) yield refusal(option, nbd.NbdRep.ERR_INVALID, 'STARTTLS has no data');
  else {
    yield { send: nbd.encodeOptionReply(option, nbd.NbdRep.ACK) };
    yield { startTls: true };
    state.tls = 'begun';
  }
  return undefined;
}

function* oneOption<E extends ExportFacts>(
  option: number,
  data: Buffer,
  exports: E[],
  options: ServerHandshakeOptions,
  state: Negotiation,
): Protocol<E | undefined> {
  const { dialect } = state;
  switch (option) {
    case nbd.NbdOpt.EXPORT_NAME: {
      const name = data.toString('utf8');
      const found = exports.find(e => e.name === name);
      if (!found)
        throw new VmError(
          `the NBD client asks for export '${name.slice(0, 100)}', which there is not`,
        );
      yield { send: exportNameAnswer(found, dialect, state.noZeroes) };
      return found;
    }
    case nbd.NbdOpt.GO:
    case nbd.NbdOpt.INFO: {
      const found = yield* describe(option, data, exports, options.maxRequest, dialect);
      return option === nbd.NbdOpt.GO ? found : undefined;
    }
    case nbd.NbdOpt.LIST:
      yield* list(data, exports);
      return undefined;
    case nbd.NbdOpt.STARTTLS:
      yield state.tls === 'begun'
        ? refusal(option, nbd.NbdRep.ERR_INVALID, 'TLS has begun already')
        : refusal(option, nbd.NbdRep.ERR_POLICY, 'this server has no TLS credentials');
      return undefined;
    case nbd.NbdOpt.STRUCTURED_REPLY:
      dialect.structured ||= data.length === 0;
      yield data.length === 0
        ? { send: nbd.encodeOptionReply(option, nbd.NbdRep.ACK) }
        : refusal(option, nbd.NbdRep.ERR_INVALID, 'STRUCTURED_REPLY has no data');
      return undefined;
    case nbd.NbdOpt.LIST_META_CONTEXT:
      yield* metaContext(option, data, exports, dialect);
      return undefined;
    case nbd.NbdOpt.SET_META_CONTEXT:
      state.context = yield* metaContext(option, data, exports, dialect);
      return undefined;
    default:
      yield refusal(option, nbd.NbdRep.ERR_UNSUP, `option ${option} is not known`);
      return undefined;
  }
}

function* describe<E extends ExportFacts>(
  option: number,
  data: Buffer,
  exports: E[],
  maxRequest: number,
  dialect: Dialect,
): Protocol<E | undefined> {
  const asked = nbd.decodeGo(data);
  if (!asked || asked.name.length > MAX_NAME) {
    yield refusal(option, nbd.NbdRep.ERR_INVALID, `the data of option ${option} is malformed`);
    return undefined;
  }
  const found = exports.find(e => e.name === asked.name);
  if (!found) {
    yield {
      send: nbd.encodeOptionReply(option, nbd.NbdRep.ERR_UNKNOWN, Buffer.from('no such export')),
    };
    return undefined;
  }
  yield {
    send: nbd.encodeOptionReply(
      option,
      nbd.NbdRep.INFO,
      nbd.infoExport.encode({
        type: nbd.NbdInfo.EXPORT,
        size: found.size,
        flags: transmissionFlags(found, dialect),
      }),
    ),
  };
  if (asked.wanted.includes(nbd.NbdInfo.NAME)) {
    const name = Buffer.concat([
      Buffer.from([0, nbd.NbdInfo.NAME]),
      Buffer.from(found.name, 'utf8'),
    ]);
    yield { send: nbd.encodeOptionReply(option, nbd.NbdRep.INFO, name) };
  }
  if (asked.wanted.includes(nbd.NbdInfo.BLOCK_SIZE)) {
    const sizes = {
      type: nbd.NbdInfo.BLOCK_SIZE,
      minimum: 1,
      preferred: 4096,
      maximum: maxRequest,
    };
    yield { send: nbd.encodeOptionReply(option, nbd.NbdRep.INFO, nbd.infoBlockSize.encode(sizes)) };
  }
  yield { send: nbd.encodeOptionReply(option, nbd.NbdRep.ACK) };
  return found;
}

/**
 * Answers with base:allocation if it was asked for. Gives the export for which it was, under SET.
 */
function* metaContext(
  option: number,
  data: Buffer,
  exports: ExportFacts[],
  dialect: Dialect,
): Protocol<{ name: string } | undefined> {
  const asked = nbd.decodeMetaContext(data);
  if (!asked || !dialect.structured) {
    yield refusal(
      option,
      nbd.NbdRep.ERR_INVALID,
      asked ? 'structured replies come first' : `the data of option ${option} is malformed`,
    );
    return undefined;
  }
  if (!exports.some(e => e.name === asked.name)) {
    yield refusal(option, nbd.NbdRep.ERR_UNKNOWN, 'no such export');
    return undefined;
  }
  const list = option === nbd.NbdOpt.LIST_META_CONTEXT;
  const wanted =
    asked.queries.includes(CONTEXT) ||
    (list && (asked.queries.length === 0 || asked.queries.includes('base:')));
  if (wanted)
    yield {
      send: nbd.encodeOptionReply(
        option,
        nbd.NbdRep.META_CONTEXT,
        nbd.encodeMetaContext(list ? 0 : BASE_ALLOCATION, CONTEXT),
      ),
    };
  yield { send: nbd.encodeOptionReply(option, nbd.NbdRep.ACK) };
  return wanted ? { name: asked.name } : undefined;
}

function* list(data: Buffer, exports: ExportFacts[]): Protocol {
  if (data.length > 0) {
    yield refusal(nbd.NbdOpt.LIST, nbd.NbdRep.ERR_INVALID, 'LIST has no data');
    return;
  }
  for (const { name } of exports)
    yield {
      send: nbd.encodeOptionReply(nbd.NbdOpt.LIST, nbd.NbdRep.SERVER, nbd.encodeListEntry(name)),
    };
  yield { send: nbd.encodeOptionReply(nbd.NbdOpt.LIST, nbd.NbdRep.ACK) };
}

/** Until DISC. A WRITE that is too long comes without its data, which was thrown away. */
export function* requests(maxRequest: number, serve: (request: ServerRequest) => void): Protocol {
  const header = { need: nbd.sizeOf(nbd.request), idle: true } as const;
  for (;;) {
    const request: ServerRequest = nbd.decodeRequest(yield header);
    if (request.type === nbd.NbdCmd.DISC) return;
    if (request.type === nbd.NbdCmd.WRITE) {
      if (request.length > maxRequest) yield { skip: request.length };
      else request.data = yield { need: request.length };
    }
    serve(request);
  }
}

/**
 * proto.md: CAN_MULTI_CONN, for all connections of an export share one node, so a flush on one
 * covers them all.
 */
function transmissionFlags(e: ExportFacts, { structured }: Dialect): number {
  const f = nbd.ExportFlag;
  const reading =
    f.HAS_FLAGS | f.SEND_FLUSH | f.CAN_MULTI_CONN | f.SEND_CACHE | (structured ? f.SEND_DF : 0);
  return e.writable
    ? reading | f.SEND_FUA | f.SEND_TRIM | f.SEND_WRITE_ZEROES | f.SEND_FAST_ZERO
    : reading | f.READ_ONLY;
}

function exportNameAnswer(e: ExportFacts, dialect: Dialect, noZeroes: boolean): Buffer {
  const answer = nbd.exportNameReply.encode({ size: e.size, flags: transmissionFlags(e, dialect) });
  return noZeroes ? answer : Buffer.concat([answer, Buffer.alloc(124)]);
}
