/** The client's half of NBD as straight lines: handshake (GO, else EXPORT_NAME), then simple replies. The server is untrusted input. */
import { VmError } from '../../base/errors.js';
import * as nbd from './codec.js';
import type { Protocol } from './machine.js';

export interface NbdExportInfo {
  size: number;
  flags: number;
  /** Longest READ or WRITE. */
  maxTransfer: number;
}

/** proto.md "Block size constraints": what a server that says nothing must take. */
const DEFAULT_MAX = 32 * 1024 * 1024;
const MAX_REPLY_DATA = 64 * 1024;

export function* clientHandshake(exportName: string): Protocol<NbdExportInfo> {
  const greeting = nbd.greeting.decode(yield { need: nbd.sizeOf(nbd.greeting) });
  if (!greeting.magic.equals(nbd.NBD_MAGIC) || !greeting.option.equals(nbd.OPTION_MAGIC)) throw new VmError('the peer does not speak new-style NBD');
  if (!(greeting.flags & nbd.HandshakeFlag.FIXED_NEWSTYLE)) throw new VmError('the NBD server does not speak fixed new-style');
  const noZeroes = (greeting.flags & nbd.HandshakeFlag.NO_ZEROES) !== 0;
  const flags = nbd.HandshakeFlag.FIXED_NEWSTYLE | (noZeroes ? nbd.HandshakeFlag.NO_ZEROES : 0);
  yield { send: nbd.clientFlags.encode({ flags }) };
  return (yield* go(exportName)) ?? (yield* exportNameOption(exportName, noZeroes));
}

/** Undefined: the server does not know NBD_OPT_GO. */
function* go(exportName: string): Protocol<NbdExportInfo | undefined> {
  yield { send: nbd.encodeOption(nbd.NbdOpt.GO, nbd.encodeGo(exportName, [nbd.NbdInfo.BLOCK_SIZE])) };
  let info: NbdExportInfo | undefined;
  let maxTransfer = DEFAULT_MAX;
  for (let replies = 0; replies < 64; replies++) {
    const reply = nbd.optionReply.decode(yield { need: nbd.sizeOf(nbd.optionReply) });
    if (reply.option !== nbd.NbdOpt.GO) throw new VmError(`the NBD server answers option ${reply.option}, which was not asked`);
    if (reply.length > MAX_REPLY_DATA) throw new VmError(`the NBD server's answer of ${reply.length} bytes is too long`);
    const data = yield { need: reply.length };
    if (reply.type === nbd.NbdRep.ERR_UNSUP) return undefined;
    if (reply.type >= 0x8000_0000) throw refused(exportName, reply.type, data);
    if (reply.type === nbd.NbdRep.ACK) {
      if (!info) throw new VmError('the NBD server did not describe the export');
      return { ...info, maxTransfer };
    }
    if (reply.type !== nbd.NbdRep.INFO || data.length < 2) continue;
    const type = data.readUInt16BE(0);
    if (type === nbd.NbdInfo.EXPORT) info = { ...checked(nbd.infoExport.decode(data)), maxTransfer };
    if (type === nbd.NbdInfo.BLOCK_SIZE) maxTransfer = transferBound(nbd.infoBlockSize.decode(data));
  }
  throw new VmError('the NBD server does not come to an end with its answers');
}

/** The server closes the connection when it does not know the name. */
function* exportNameOption(exportName: string, noZeroes: boolean): Protocol<NbdExportInfo> {
  yield { send: nbd.encodeOption(nbd.NbdOpt.EXPORT_NAME, Buffer.from(exportName, 'utf8')) };
  const info = checked(nbd.exportNameReply.decode(yield { need: nbd.sizeOf(nbd.exportNameReply) }));
  if (!noZeroes) yield { skip: 124 };
  return { ...info, maxTransfer: DEFAULT_MAX };
}

/** expect: how many bytes follow a successful reply with this cookie, or undefined for a cookie that is not pending. */
export function* clientReplies(expect: (cookie: number) => number | undefined, settle: (cookie: number, errno: number, data: Buffer) => void): Protocol {
  for (;;) {
    const reply = nbd.simpleReply.decode(yield { need: nbd.sizeOf(nbd.simpleReply) });
    const cookie = nbd.decodeCookie(reply.cookie);
    const length = expect(cookie);
    if (length === undefined) throw new VmError('the NBD server answers a request that was not made');
    const data = yield { need: reply.error === 0 ? length : 0 };
    settle(cookie, reply.error, data);
  }
}

function checked(info: { size: number; flags: number }): { size: number; flags: number } {
  if (!Number.isSafeInteger(info.size)) throw new VmError('the NBD export is too long');
  if (info.size % 512 !== 0) throw new VmError(`the NBD export has ${info.size} bytes, not a whole number of sectors`);
  return { size: info.size, flags: info.flags & nbd.ExportFlag.HAS_FLAGS ? info.flags : 0 };
}

function transferBound(sizes: { minimum: number; maximum: number }): number {
  if (sizes.minimum > 512) throw new VmError(`the NBD export takes whole blocks of ${sizes.minimum} bytes only`);
  const bound = Math.min(sizes.maximum, DEFAULT_MAX);
  return Math.max(512, bound - (bound % 512));
}

function refused(exportName: string, type: number, data: Buffer): VmError {
  const said = data.toString('utf8').replace(/[^\x20-\x7e]/g, ' ').slice(0, 200);
  if (type === nbd.NbdRep.ERR_UNKNOWN) return new VmError(`the NBD server has no export '${exportName}'${said && `: ${said}`}`);
  return new VmError(`the NBD server refuses export '${exportName}' (0x${type.toString(16)})${said && `: ${said}`}`);
}
