/** How the channels between the two sides of a pair are secured. */
import { join, resolve, dirname } from 'node:path';
import { staysHere } from '../../host/loopback.js';
import { parseSocketUri } from '../../migration/uri.js';
import { UsageError } from '../options/argv.js';
import type { PairDefinition } from './schema.js';

/** The tls-creds object of a VM from a pair definition: for both ends of all its connections. */
export const PAIR_TLS = 'pair-tls';

/** `-object`: what the process on side `a` or `b` shows, and asks of the other. */
export function credentialsOption(
  path: string,
  { tls }: PairDefinition,
  side: string,
): string | undefined {
  if (!tls) return undefined;
  const dir = join(resolve(dirname(path), tls.dir), side).replaceAll(',', ',,');
  return `tls-creds-${tls.kind ?? 'x509'},id=${PAIR_TLS},dir=${dir},endpoint=both`;
}

/** Its words in commands of the monitor, where the pair has them. */
export const withTls = ({ tls }: PairDefinition): { 'tls-creds'?: string } =>
  tls ? { 'tls-creds': PAIR_TLS } : {};

/** UsageError: an address that other hosts reach would be open to all of them. */
export function checkSecure(path: string, pair: PairDefinition): void {
  if (pair.tls || pair.insecure) return;
  for (const key of ['peer', 'back'] as const)
    for (const channel of ['migration', 'nbd'] as const) {
      const uri = pair[key]?.[channel];
      if (uri === undefined || staysHere(parseSocketUri(uri, 'connect', key))) continue;
      throw new UsageError(
        `${path}: ${key}.${channel}: ${uri} is reached over a network, and without \`tls\` all ` +
          'who get there may read the guest and change it',
        {
          hint:
            'colo init --tls makes certificates for both sides. Where the network is the ' +
            "pair's alone: --insecure, or `insecure: true` in the file.",
        },
      );
    }
}
