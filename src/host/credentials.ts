/** The tls-creds objects of a VM, as those see them that open connections. */
import { VmError } from '../base/errors.js';
import type { Claim } from '../base/inventory.js';
import type { Sockets, TlsContext, TlsCredentials } from './ports.js';
import type { TlsEndpoint } from './tls-creds.js';

/** user: as a refusal to delete the object names it. It is in use until the claim is disposed. */
export type CredentialStore = (
  id: string,
  endpoint: TlsEndpoint,
  user: string,
) => Claim<TlsCredentials>;

export const noCredentials: CredentialStore = id => {
  throw new VmError(`there is no tls-creds object '${id}' here`);
};

/** The credentials, looked at. */
export function claimTls(
  sockets: Sockets,
  store: CredentialStore,
  id: string,
  endpoint: TlsEndpoint,
  user: string,
): Claim<TlsContext> {
  const claim = store(id, endpoint, user);
  try {
    if (!sockets.tls) throw new VmError('this host has no TLS');
    return { value: sockets.tls(endpoint, claim.value), dispose: () => claim.dispose() };
  } catch (error) {
    claim.dispose();
    throw error;
  }
}
