/** The server's half of NBD as straight lines: negotiation, then requests. The client is untrusted input: what it may not do is answered, not crashed on. */
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
}

export const defaultServerLimits: ServerLimits = {
  requestBytes: 32 * 1024 * 1024,
  inFlight: 64,
  inFlightBytes: 64 * 1024 * 1024,
  clients: 16,
  handshakeMs: 10_000,
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

/** Ends without an export when the client says goodbye. */
export function* negotiate<E extends ExportFacts>(exports: () => E[], maxRequest: number): Protocol<{ chosen: E; dialect: Dialect } | undefined> {
  const dialect: Dialect = { structured: false, blockStatus: false };
  let context: { name: string } | undefined;
  const chosenIs = (chosen: E) => ({ chosen, dialect: { ...dialect, blockStatus: context?.name === chosen.name } });
  const ours = nbd.HandshakeFlag.FIXED_NEWSTYLE | nbd.HandshakeFlag.NO_ZEROES;
  yield { send: nbd.greeting.encode({ magic: nbd.NBD_MAGIC, option: nbd.OPTION_MAGIC, flags: ours }) };
  const { flags } = nbd.clientFlags.decode(yield { need: nbd.sizeOf(nbd.clientFlags) });
  if ((flags & ~ours) !== 0) throw new VmError(`unknown NBD client flags 0x${flags.toString(16)}`);
  for (let n = 0; n < MAX_OPTIONS; n++) {
    const { magic, option, length } = nbd.optionRequest.decode(yield { need: nbd.sizeOf(nbd.optionRequest) });
    if (!magic.equals(nbd.OPTION_MAGIC)) throw new VmError('the NBD client does not send an option where one must stand');
    if (length > MAX_OPTION) {
      yield { skip: length };
      yield { send: nbd.encodeOptionReply(option, nbd.NbdRep.ERR_TOO_BIG) };
      continue;
    }
    const data = yield { need: length };
    switch (option) {
      case nbd.NbdOpt.EXPORT_NAME: {
        const name = data.toString('utf8');
        const found = exports().find(e => e.name === name);
        // The option has no error reply: proto.md asks for the connection to be closed.
        if (!found) throw new VmError(`the NBD client asks for export '${name.slice(0, 100)}', which there is not`);
        yield { send: exportNameAnswer(found, dialect, (flags & nbd.HandshakeFlag.NO_ZEROES) !== 0) };
        return chosenIs(found);
      }
      case nbd.NbdOpt.GO:
      case nbd.NbdOpt.INFO: {
        const found = yield* describe(option, data, exports(), maxRequest, dialect);
        if (found && option === nbd.NbdOpt.GO) return chosenIs(found);
        break;
      }
      case nbd.NbdOpt.LIST:
        yield* list(data, exports());
        break;
      case nbd.NbdOpt.STRUCTURED_REPLY:
        dialect.structured ||= length === 0;
        yield { send: nbd.encodeOptionReply(option, length === 0 ? nbd.NbdRep.ACK : nbd.NbdRep.ERR_INVALID) };
        break;
      case nbd.NbdOpt.LIST_META_CONTEXT:
        yield* metaContext(option, data, exports(), dialect);
        break;
      case nbd.NbdOpt.SET_META_CONTEXT:
        context = yield* metaContext(option, data, exports(), dialect);
        break;
      case nbd.NbdOpt.ABORT:
        yield { send: nbd.encodeOptionReply(option, nbd.NbdRep.ACK) };
        return undefined;
      default:
        yield { send: nbd.encodeOptionReply(option, nbd.NbdRep.ERR_UNSUP) };
    }
  }
  throw new VmError(`more than ${MAX_OPTIONS} options in one NBD negotiation`);
}

function* describe<E extends ExportFacts>(option: number, data: Buffer, exports: E[], maxRequest: number, dialect: Dialect): Protocol<E | undefined> {
  const asked = nbd.decodeGo(data);
  if (!asked || asked.name.length > MAX_NAME) {
    yield { send: nbd.encodeOptionReply(option, nbd.NbdRep.ERR_INVALID) };
    return undefined;
  }
  const found = exports.find(e => e.name === asked.name);
  if (!found) {
    yield { send: nbd.encodeOptionReply(option, nbd.NbdRep.ERR_UNKNOWN, Buffer.from('no such export')) };
    return undefined;
  }
  yield { send: nbd.encodeOptionReply(option, nbd.NbdRep.INFO, nbd.infoExport.encode({ type: nbd.NbdInfo.EXPORT, size: found.size, flags: transmissionFlags(found, dialect) })) };
  if (asked.wanted.includes(nbd.NbdInfo.BLOCK_SIZE)) {
    const sizes = { type: nbd.NbdInfo.BLOCK_SIZE, minimum: 1, preferred: 4096, maximum: maxRequest };
    yield { send: nbd.encodeOptionReply(option, nbd.NbdRep.INFO, nbd.infoBlockSize.encode(sizes)) };
  }
  yield { send: nbd.encodeOptionReply(option, nbd.NbdRep.ACK) };
  return found;
}

/** Answers with base:allocation if it was asked for. Gives the export for which it was, under SET. */
function* metaContext(option: number, data: Buffer, exports: ExportFacts[], dialect: Dialect): Protocol<{ name: string } | undefined> {
  const asked = nbd.decodeMetaContext(data);
  if (!asked || !dialect.structured) {
    yield { send: nbd.encodeOptionReply(option, nbd.NbdRep.ERR_INVALID) };
    return undefined;
  }
  if (!exports.some(e => e.name === asked.name)) {
    yield { send: nbd.encodeOptionReply(option, nbd.NbdRep.ERR_UNKNOWN) };
    return undefined;
  }
  const list = option === nbd.NbdOpt.LIST_META_CONTEXT;
  const wanted = asked.queries.includes(CONTEXT) || (list && (asked.queries.length === 0 || asked.queries.includes('base:')));
  if (wanted) yield { send: nbd.encodeOptionReply(option, nbd.NbdRep.META_CONTEXT, nbd.encodeMetaContext(list ? 0 : BASE_ALLOCATION, CONTEXT)) };
  yield { send: nbd.encodeOptionReply(option, nbd.NbdRep.ACK) };
  return wanted ? { name: asked.name } : undefined;
}

function* list(data: Buffer, exports: ExportFacts[]): Protocol {
  if (data.length > 0) {
    yield { send: nbd.encodeOptionReply(nbd.NbdOpt.LIST, nbd.NbdRep.ERR_INVALID) };
    return;
  }
  for (const { name } of exports) yield { send: nbd.encodeOptionReply(nbd.NbdOpt.LIST, nbd.NbdRep.SERVER, nbd.encodeListEntry(name)) };
  yield { send: nbd.encodeOptionReply(nbd.NbdOpt.LIST, nbd.NbdRep.ACK) };
}

/** Until DISC. A WRITE that is too long comes without its data, which was thrown away. */
export function* requests(maxRequest: number, serve: (request: ServerRequest) => void): Protocol {
  for (;;) {
    const request = nbd.request.decode(yield { need: nbd.sizeOf(nbd.request) });
    if (request.type === nbd.NbdCmd.DISC) return;
    if (request.type !== nbd.NbdCmd.WRITE) serve(request);
    else if (request.length > maxRequest) {
      yield { skip: request.length };
      serve(request);
    } else serve({ ...request, data: yield { need: request.length } });
  }
}

/** proto.md: CAN_MULTI_CONN, for all connections of an export share one node, so a flush on one covers them all. */
function transmissionFlags(e: ExportFacts, { structured }: Dialect): number {
  const f = nbd.ExportFlag;
  const reading = f.HAS_FLAGS | f.SEND_FLUSH | f.CAN_MULTI_CONN | f.SEND_CACHE | (structured ? f.SEND_DF : 0);
  return e.writable ? reading | f.SEND_FUA | f.SEND_TRIM | f.SEND_WRITE_ZEROES : reading | f.READ_ONLY;
}

function exportNameAnswer(e: ExportFacts, dialect: Dialect, noZeroes: boolean): Buffer {
  const answer = nbd.exportNameReply.encode({ size: e.size, flags: transmissionFlags(e, dialect) });
  return noZeroes ? answer : Buffer.concat([answer, Buffer.alloc(124)]);
}
