/**
 * What this host is called. Node's list of network interfaces leaves out an address whose link has
 * no carrier yet, as at boot. The kernel's routes have it: what is sent to an address of this host
 * comes from that address, as far as it is the first of its network; nothing is sent.
 */
import { createSocket } from 'node:dgram';
import { isIP } from 'node:net';
import { hostname, networkInterfaces } from 'node:os';

export interface OwnHost {
  readonly hostname: string;
  /** false: it is another host's, or a name. */
  isOwn(address: string): Promise<boolean>;
}

export const ownHost: OwnHost = { hostname: hostname(), isOwn: isOwnAddress };

/** Any will do: nobody is asked. */
const PORT = 9;

function isOwnAddress(address: string): Promise<boolean> {
  const family = isIP(address);
  if (family === 0) return Promise.resolve(false);
  const listed = Object.values(networkInterfaces()).flat();
  if (listed.some(own => own && isSame(own.address, address))) return Promise.resolve(true);
  const socket = createSocket(family === 6 ? 'udp6' : 'udp4');
  return new Promise(resolve => {
    const done = (own: boolean) => socket.close(() => resolve(own));
    socket.once('error', () => done(false));
    socket.connect(PORT, address, () => done(isSame(socket.address().address, address)));
  });
}

/** Addresses of IPv6 have several spellings. */
function isSame(one: string, other: string): boolean {
  const spelt = (address: string) =>
    isIP(address) === 6 ? new URL(`http://[${address.split('%')[0]}]`).hostname : address;
  return spelt(one) === spelt(other);
}
