/**
 * The files behind tls-creds-x509 and tls-creds-psk, under the names that QEMU and libvirt give
 * them, in one directory.
 */
import { VmError } from '../base/errors.js';
import type { Files, TlsCredentials, X509Credentials } from './ports.js';

export type TlsEndpoint = 'client' | 'server';

export interface X509Files {
  dir: string;
  endpoint: TlsEndpoint;
  /** A server asks its clients for certificates; a client checks the server's. */
  verifyPeer: boolean;
}

export interface PskFile {
  /** keys.psk, as psktool writes it. */
  path: string;
  endpoint: TlsEndpoint;
  /** A client's. */
  username?: string;
}

export const DEFAULT_PSK_USER = 'qemu';

/**
 * ca-cert.pem; of a server server-cert.pem and server-key.pem; of a client client-cert.pem and
 * client-key.pem, if it has them.
 */
export async function loadX509(
  files: Files,
  { dir, endpoint, verifyPeer }: X509Files,
): Promise<X509Credentials> {
  const read = (name: string) => readPem(files, `${dir}/${name}`);
  const ca = await read('ca-cert.pem');
  if (endpoint === 'server')
    return {
      kind: 'x509',
      ca,
      certificate: await read('server-cert.pem'),
      key: await read('server-key.pem'),
      verifyPeer,
    };
  const certificate = await read('client-cert.pem').catch(absent);
  const key = certificate && (await read('client-key.pem'));
  return { kind: 'x509', ca, certificate, key, verifyPeer };
}

/** Lines of NAME:HEX. */
export async function loadPsk(
  files: Files,
  { path, endpoint, username = DEFAULT_PSK_USER }: PskFile,
): Promise<TlsCredentials> {
  const keys = new Map<string, Uint8Array>();
  const lines = Buffer.from(await files.readFile(path))
    .toString('utf8')
    .split(/\r?\n/);
  lines.forEach((line, n) => {
    if (line.trim() === '' || line.startsWith('#')) return;
    const match = /^([^:]{1,128}):((?:[0-9a-fA-F]{2}){16,256})$/.exec(line.trim());
    if (!match)
      throw new VmError(
        `'${path}', line ${n + 1}: not a name, a colon and a key of 16 to 256 bytes in hexadecimal`,
        { hint: 'psktool makes such files.' },
      );
    keys.set(match[1], Buffer.from(match[2], 'hex'));
  });
  if (endpoint === 'server') {
    if (keys.size === 0) throw new VmError(`'${path}' holds no key`);
    return { kind: 'psk', keys };
  }
  const key = keys.get(username);
  if (!key) throw new VmError(`'${path}' holds no key for user '${username}'`);
  return { kind: 'psk', keys: new Map([[username, key]]) };
}

async function readPem(files: Files, path: string): Promise<Uint8Array> {
  const data = await files.readFile(path);
  if (!Buffer.from(data).includes('-----BEGIN ')) throw new VmError(`'${path}' holds no PEM text`);
  return data;
}

function absent(error: unknown): undefined {
  for (let depth = 0, at = error; depth < 8 && typeof at === 'object' && at !== null; depth++) {
    if ((at as { code?: unknown }).code === 'ENOENT') return undefined;
    at = (at as { cause?: unknown }).cause;
  }
  throw error;
}
