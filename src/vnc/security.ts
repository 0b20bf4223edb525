/**
 * How a viewer shows that it may look (RFC 6143, section 7.2; VeNCrypt's sub-types by the RFB
 * protocol's community wiki): not at all, by a password, and within TLS.
 */
import { createCipheriv, timingSafeEqual } from 'node:crypto';
import { VmError } from '../base/errors.js';
import type { Entropy, Stream, TlsContext } from '../host/ports.js';
import { IncomingBytes } from './incoming-bytes.js';

const SecurityType = { INVALID: 0, NONE: 1, VNC: 2, VENCRYPT: 19 } as const;
const VENCRYPT_VERSION = [0, 2] as const;
const X509_NONE = 260;
const X509_VNC = 261;
const CHALLENGE_BYTES = 16;
const KEY_BYTES = 8;
/** What a viewer has for all of it, and for TLS within. */
export const HANDSHAKE_MS = 10_000;

export interface VncSecurity {
  readonly entropy: Entropy;
  readonly tls: TlsContext | undefined;
  /** A password is asked for. */
  readonly wantsPassword: boolean;
  /** undefined: none was set, so nobody gets in. */
  readonly password: string | undefined;
}

export interface Admitted {
  readonly stream: Stream;
  readonly incoming: IncomingBytes;
}

/** DES with a password whose bytes are read from their lowest bit. */
export function vncResponse(password: string, challenge: Uint8Array): Buffer {
  const key = Buffer.alloc(KEY_BYTES);
  const given = Buffer.from(password, 'latin1');
  for (let i = 0; i < Math.min(given.length, KEY_BYTES); i++)
    for (let bit = 0; bit < 8; bit++) key[i] |= ((given[i] >> bit) & 1) << (7 - bit);
  // DES alone is what three times the same key makes of the triple one.
  const cipher = createCipheriv('des-ede3-ecb', Buffer.concat([key, key, key]), null);
  cipher.setAutoPadding(false);
  return Buffer.concat([cipher.update(challenge), cipher.final()]);
}

/** From the version on. Rejects: the viewer was told why, and is to be sent away. */
export async function admitViewer(stream: Stream, security: VncSecurity): Promise<Admitted> {
  const incoming = new IncomingBytes(stream);
  await stream.write(Buffer.from('RFB 003.008\n'));
  const minor = minorVersion(await incoming.take(12));
  const own = security.tls
    ? SecurityType.VENCRYPT
    : security.wantsPassword
      ? SecurityType.VNC
      : SecurityType.NONE;
  await agree(stream, incoming, own, minor);
  if (own === SecurityType.VENCRYPT) return vencrypt(stream, incoming, security);
  await prove(stream, incoming, security, minor);
  return { stream, incoming };
}

function minorVersion(text: Buffer): 3 | 7 | 8 {
  const match = /^RFB 003\.(\d{3})\n$/.exec(text.toString('latin1'));
  if (!match) throw new VmError('it speaks no RFB');
  const minor = Number(match[1]);
  // What is newer or unknown speaks the older one that it is nearest to.
  return minor >= 8 ? 8 : minor === 7 ? 7 : 3;
}

async function agree(
  stream: Stream,
  incoming: IncomingBytes,
  type: number,
  minor: 3 | 7 | 8,
): Promise<void> {
  if (minor === 3) {
    if (type === SecurityType.VENCRYPT) {
      const told = Buffer.alloc(4);
      await stream.write(Buffer.concat([told, reason('TLS wants RFB 3.7 or later')]));
      throw new VmError('RFB 3.3 has no TLS');
    }
    return stream.write(Buffer.of(0, 0, 0, type));
  }
  await stream.write(Buffer.of(1, type));
  const [chosen] = await incoming.take(1);
  if (chosen !== type) throw new VmError(`security type ${chosen} was not offered`);
}

async function prove(
  stream: Stream,
  incoming: IncomingBytes,
  security: VncSecurity,
  minor: 3 | 7 | 8,
): Promise<void> {
  if (!security.wantsPassword) {
    if (minor === 8) await stream.write(Buffer.alloc(4));
    return;
  }
  const challenge = Buffer.alloc(CHALLENGE_BYTES);
  security.entropy.fill(challenge);
  await stream.write(challenge);
  const response = await incoming.take(CHALLENGE_BYTES);
  const { password } = security;
  const right =
    password !== undefined && timingSafeEqual(vncResponse(password, challenge), response);
  if (right) return stream.write(Buffer.alloc(4));
  const failed = Buffer.of(0, 0, 0, 1);
  await stream.write(
    minor === 8 ? Buffer.concat([failed, reason('the password is wrong')]) : failed,
  );
  throw new VmError(password === undefined ? 'no password is set' : 'the password is wrong');
}

async function vencrypt(
  stream: Stream,
  incoming: IncomingBytes,
  security: VncSecurity,
): Promise<Admitted> {
  await stream.write(Buffer.from(VENCRYPT_VERSION));
  const version = await incoming.take(2);
  if (version[0] !== VENCRYPT_VERSION[0] || version[1] !== VENCRYPT_VERSION[1]) {
    await stream.write(Buffer.of(1));
    throw new VmError(`VeNCrypt ${version[0]}.${version[1]} is not supported`);
  }
  const type = security.wantsPassword ? X509_VNC : X509_NONE;
  const offer = Buffer.alloc(6);
  offer[1] = 1;
  offer.writeUInt32BE(type, 2);
  await stream.write(offer);
  const chosen = (await incoming.take(4)).readUInt32BE();
  if (chosen !== type || !security.tls) throw new VmError(`sub-type ${chosen} was not offered`);
  // The last plain byte; what the viewer sends next is TLS, in the same turn perhaps.
  const told = stream.write(Buffer.of(1));
  const safe = await security.tls.start(stream, { timeoutMs: HANDSHAKE_MS });
  await told;
  const bytes = new IncomingBytes(safe);
  await prove(safe, bytes, security, 8);
  return { stream: safe, incoming: bytes };
}

function reason(text: string): Buffer {
  const bytes = Buffer.from(text, 'latin1');
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return Buffer.concat([length, bytes]);
}
