/**
 * TLS credentials, which NBD servers and clients are given by id. The files are read once, when the
 * object is made.
 */
import type { Disposable } from '../../base/disposable.js';
import { VmError } from '../../base/errors.js';
import type { TlsCredentials } from '../../host/ports.js';
import { DEFAULT_PSK_USER, loadPsk, loadX509, type TlsEndpoint } from '../../host/tls-creds.js';
import { bool, oneOf, optional, str } from '../../words/types.js';
import { objectType } from './type.js';

export class TlsCreds implements Disposable {
  constructor(
    private readonly id: string,
    private readonly endpoint: TlsEndpoint,
    private readonly loaded: TlsCredentials,
  ) {}

  /** For that side of a connection. */
  for(endpoint: TlsEndpoint): TlsCredentials {
    if (endpoint !== this.endpoint)
      throw new VmError(`Expected TLS credentials for a ${endpoint} endpoint`, {
        hint: `'${this.id}' is for a ${this.endpoint}: make one with endpoint=${endpoint}.`,
      });
    return this.loaded;
  }

  dispose(): void {
    // nothing is open
  }
}

const endpoint = optional(
  oneOf(['client', 'server'], 'the side of the connection that it is for; default: client', {
    name: 'QCryptoTLSCredsEndpoint',
  }),
);
const defaults = { endpoint: 'client' } as const;

export const tlsCredsTypes = [
  objectType({
    name: 'tls-creds-x509',
    summary: 'TLS by certificates',
    notes: [
      'In dir: ca-cert.pem; of a server server-cert.pem and server-key.pem; of a client ' +
        'client-cert.pem and client-key.pem, if the server asks for them.',
    ],
    fields: {
      dir: str('directory of the PEM files'),
      endpoint,
      'verify-peer': optional(
        bool('a client checks the server; a server asks its clients for certificates; default: on'),
      ),
    },
    phase: 'early',
    defaults: { ...defaults, 'verify-peer': true },
    create: async (id, given, { host }) => {
      const side = given.endpoint ?? 'client';
      return new TlsCreds(
        id,
        side,
        await loadX509(host.files, {
          dir: given.dir,
          endpoint: side,
          verifyPeer: given['verify-peer'] ?? true,
        }),
      );
    },
  }),
  objectType({
    name: 'tls-creds-psk',
    summary: 'TLS by pre-shared keys',
    notes: ['In dir: keys.psk, with lines of NAME:HEX as psktool writes them.'],
    fields: {
      dir: str('directory of keys.psk'),
      endpoint,
      username: optional(str(`the name of a client's key; default: ${DEFAULT_PSK_USER}`)),
    },
    phase: 'early',
    defaults: { ...defaults, username: DEFAULT_PSK_USER },
    create: async (id, given, { host }) => {
      const side = given.endpoint ?? 'client';
      return new TlsCreds(
        id,
        side,
        await loadPsk(host.files, {
          path: `${given.dir}/keys.psk`,
          endpoint: side,
          username: given.username,
        }),
      );
    },
  }),
];
