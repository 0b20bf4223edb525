/**
 * What secures the connections of migrations and of COLO, as the parameters tls-creds and
 * tls-hostname say. They hold for the next connection and the next listener.
 */
import type { Claim } from '../base/inventory.js';
import { claimTls, type CredentialStore } from '../host/credentials.js';
import { staysHere } from '../host/loopback.js';
import type { Address, Clock, Sockets, TlsContext } from '../host/ports.js';
import { SecureSockets, type Security } from '../host/secure-sockets.js';
import type { TlsEndpoint } from '../host/tls-creds.js';

export interface MigrationTls {
  /** The tls-creds object: of who dials for a client, of who waits for a server. '': no TLS. */
  creds: string;
  /** What the server's certificate must be made out to. '': the address that is dialled. */
  hostname: string;
}

export interface SecuringHost {
  readonly sockets: Sockets;
  readonly clock: Clock;
  note(line: string): void;
}

/**
 * The sockets of migrations; tls is live. warned: that nothing proves who speaks was said already.
 */
export function migrationSockets(
  host: SecuringHost,
  credentials: CredentialStore,
  tls: MigrationTls,
  warned: boolean,
): Sockets {
  return new SecureSockets(host, new MigrationSecurity(host, credentials, tls, warned));
}

class MigrationSecurity implements Security {
  constructor(
    private readonly host: SecuringHost,
    private readonly credentials: CredentialStore,
    private readonly tls: MigrationTls,
    private warned: boolean,
  ) {}

  get hostname(): string | undefined {
    return this.tls.hostname === '' ? undefined : this.tls.hostname;
  }

  claim(endpoint: TlsEndpoint): Claim<TlsContext> | undefined {
    const { creds } = this.tls;
    if (creds === '') return undefined;
    return claimTls(this.host.sockets, this.credentials, creds, endpoint, 'migration');
  }

  plain(address: Address): void {
    if (this.warned || staysHere(address)) return;
    this.warned = true;
    this.note(
      'warning: the state of the guest goes over a network without TLS: who gets there reads ' +
        'and changes it. Set tls-creds, or keep the network to the pair.',
    );
  }

  note(line: string): void {
    this.host.note(`migration: ${line}`);
  }
}
