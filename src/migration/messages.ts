/**
 * What the two ends of a migration say to each other, and what a state file holds. COLO's words
 * stand on these (colo/messages.ts). A file cannot answer: there `accept`, `loaded` and `started`
 * are left out, and `go` is its end mark.
 */
import { VmError } from '../base/errors.js';
import { bool8, record, u53 } from '../fields/field.js';
import {
  type Body,
  type MessageOf,
  codecOfTable,
  fields,
  kind,
  kindTable,
  noBody,
  raw,
  sentence,
} from './kinds.js';
import type { MessageCodec } from './link.js';
import { type Hello, decodeHello, encodeHello, HELLO_BYTES_MAX } from './manifest.js';
import { chunkBytesMax } from './pages.js';
import {
  decodeStandings,
  type DiskStanding,
  encodeStandings,
  STANDINGS_BYTES_MAX,
} from './standing.js';

/** Device state travels in pieces of at most this. */
export const PIECE_BYTES = 1024 * 1024;

export type MigrationSide = 'source' | 'destination';

const helloBody: Body<{ hello: Hello }> = {
  bytes: HELLO_BYTES_MAX,
  encode: ({ hello }) => encodeHello(hello),
  decode: body => ({ hello: decodeHello(body) }),
};
/** disks: of a secondary, what its images know. */
const acceptBody: Body<{ disks?: DiskStanding[] }> = {
  bytes: STANDINGS_BYTES_MAX,
  encode: ({ disks }) => (disks ? encodeStandings(disks) : Buffer.alloc(0)),
  decode: body => (body.length === 0 ? {} : { disks: decodeStandings(body) }),
};
/**
 * size: bytes of device state that follow in blobs. pages: pages that were sent before, in all
 * rounds. ran: the guest was running.
 */
const stateBody = record({ size: u53, pages: u53, ran: bool8 });

/** COLO says these too. */
export const commonKinds = kindTable({
  hello: kind(64, 'source', helloBody),
  accept: kind(65, 'destination', acceptBody),
  /** The sender ends the migration, for this reason. */
  error: kind(66, 'both', sentence),
  pages: kind(67, 'source', raw('body', chunkBytesMax)),
  'round-end': kind(68, 'source', noBody),
  blob: kind(71, 'source', raw('bytes', PIECE_BYTES)),
});

export const transferKinds = kindTable({
  ...commonKinds,
  'device-state': kind(96, 'source', fields(stateBody)),
  /** All is here and checked. */
  loaded: kind(97, 'destination', noBody),
  /** The guest is yours. */
  go: kind(98, 'source', noBody),
  /** It is mine. */
  started: kind(99, 'destination', noBody),
});
export type TransferMessage = MessageOf<typeof transferKinds>;

export const transferCodec = (side: MigrationSide): MessageCodec<TransferMessage> =>
  codecOfTable(transferKinds, side);

/** Device state, which a peer has said to have so many bytes. */
export async function receiveState(
  size: number,
  { blobBytesMax }: { blobBytesMax: number },
  next: () => Promise<{ bytes: Buffer }>,
): Promise<Buffer> {
  if (size > blobBytesMax)
    throw new VmError(`device state of ${size} bytes, at most ${blobBytesMax} allowed`);
  return receivePieces(size, async () => (await next()).bytes);
}

/** Joins pieces to exactly size bytes. */
export async function receivePieces(size: number, next: () => Promise<Buffer>): Promise<Buffer> {
  const whole = Buffer.allocUnsafe(size);
  for (let at = 0; at < size;) {
    const piece = await next();
    if (piece.length === 0 || at + piece.length > size)
      throw new VmError(`a piece of ${piece.length} bytes where ${size - at} are left`);
    at += piece.copy(whole, at);
  }
  return whole;
}
