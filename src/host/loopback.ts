/** What only this host can reach. */
import type { Address } from './ports.js';

export const isLoopback = (host: string): boolean =>
  /^(localhost|127\.\d+\.\d+\.\d+|::1)$/.test(host);

export const staysHere = (address: Address): boolean =>
  address.kind === 'unix' || isLoopback(address.host);
