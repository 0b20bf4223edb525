/**
 * TLS credentials, which migrations, NBD and chardevs are given by id. The files are read once,
 * when the object is made.
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
    private readonly loaded: Readonly<Partial<Record<TlsEndpoint, TlsCredentials>>>,
  ) {}

  static async load(
    id: string,
    endpoint: Given | undefined,
    load: (endpoint: TlsEndpoint) => Promise<TlsCredentials>,
  ): Promise<TlsCreds> {
    const loaded: Partial<Record<TlsEndpoint, TlsCredentials>> = {};
    const ends = endpoint === 'both' ? tlsEndpoints : [endpoint ?? 'client'];
    for (const end of ends) loaded[end] = await load(end);
    return new TlsCreds(id, loaded);
  }

  /** For that side of a connection. */
  for(endpoint: TlsEndpoint): TlsCredentials {
    const found = this.loaded[endpoint];
    if (found) return found;
    const other = Object.keys(this.loaded).join();
    throw new VmError(`Expected TLS credentials for a ${endpoint} endpoint`, {
      hint: `'${this.id}' is for a ${other}: make one with endpoint=${endpoint}, or both.`,
    });
  }

  dispose(): void {
    // nothing is open
  }
}

type Given = TlsEndpoint | 'both';
const tlsEndpoints = ['client', 'server'] as const;
const endpoint = optional(
  oneOf(
    [...tlsEndpoints, 'both'],
    'the side of the connection that it is for; both: whichever is wanted; default: client',
    { name: 'QCryptoTLSCredsEndpoint' },
  ),
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
    create: (id, given, { host }) =>
      TlsCreds.load(id, given.endpoint, end =>
        loadX509(host.files, {
          dir: given.dir,
          endpoint: end,
          verifyPeer: given['verify-peer'] ?? true,
        }),
      ),
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
    create: (id, given, { host }) =>
      TlsCreds.load(id, given.endpoint, end =>
        loadPsk(host.files, {
          path: `${given.dir}/keys.psk`,
          endpoint: end,
          username: given.username,
        }),
      ),
  }),
];
