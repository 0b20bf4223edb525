/**
 * The two sides of a pair definition: images, taps and names belong to a side, the roles change
 * between them. Side a is what the definition calls primary, side b what it calls secondary; with
 * the roles the other way round the same pair has another definition.
 */
import type { OwnHost } from '../../host/node/own-host.js';
import { UsageError } from '../options/argv.js';
import type { Role } from '../options/spec.js';
import type { PairFile } from './read.js';
import { type PairDefinition, sideName } from './schema.js';

export const sides = ['a', 'b'] as const;
export type Side = (typeof sides)[number];

export function parseSide(word: string): Side {
  const found = sides.find(side => side === word);
  if (found) return found;
  throw new UsageError(`--side ${word}: it is ${sides.join(' or ')}`, {
    hint: 'a: what the definition calls primary; b: what it calls secondary.',
  });
}

const HOME = { a: 'primary', b: 'secondary' } as const;

/** The side that a role begins on. */
export const ownSide = (role: Role): Side => (role === 'primary' ? 'a' : 'b');

/** The definition for a process in this role on this side. */
export function definitionFor(file: PairFile, role: Role, side: Side): PairFile {
  return HOME[side] === role ? file : swapped(file);
}

/** Where a process in this role is, by the definition that it has. */
export const sideOf = ({ turned }: PairFile, role: Role): Side =>
  ownSide(role) === (turned ? 'b' : 'a') ? 'a' : 'b';

/** The side that a running VM is on, by its name. undefined: it is of another pair. */
export function sideNamed(pair: PairDefinition, name: string): Side | undefined {
  return sides.find(side => sideNameOf(pair, side) === name);
}

export const sideNameOf = (pair: PairDefinition, side: Side): string => sideName(pair, HOME[side]);

/** The side whose addresses are of this host. UsageError: both, neither, or nobody knows. */
export async function localSide({ path, pair }: PairFile, local: OwnHost): Promise<Side> {
  const isHere = async (uri: string | undefined) => {
    const host = /^tcp:\[?(.*?)\]?:[0-9]+$/.exec(uri ?? '')?.[1];
    if (host === undefined) return false;
    const names = [local.hostname, local.hostname.split('.')[0]];
    return names.includes(host) || local.isOwn(host);
  };
  const [a, b] = [await isHere(pair.back?.migration), await isHere(pair.peer.migration)];
  if (a !== b) return a ? 'a' : 'b';
  const which = a
    ? "'back' and 'peer' are both addresses of this host"
    : "neither 'back' nor 'peer' is an address of this host";
  throw new UsageError(`${path}: ${which}: say --side a or --side b`);
}

/** Where side a waits for side b. UsageError: the definition does not say so. */
export function backOf({ path, pair: { back } }: PairFile): NonNullable<PairDefinition['back']> {
  if (back) return back;
  throw new UsageError(
    `${path}: 'back' is missing: the addresses at which side a waits as the secondary`,
    { hint: 'Example: back: {migration: "tcp:10.0.0.1:8888", nbd: "tcp:10.0.0.1:8889"}' },
  );
}

/** UsageError: as backOf. */
function swapped(file: PairFile): PairFile {
  const { pair, turned } = file;
  const { peer, primary, secondary } = pair;
  const back = backOf(file);
  return {
    ...file,
    turned: turned !== true,
    pair: {
      ...pair,
      peer: { ...back, wait: peer.wait },
      back: peer,
      disks: pair.disks?.map(otherWay),
      network: pair.network?.map(otherWay),
      primary: { ...unset, ...secondary, name: sideName(pair, 'secondary') },
      secondary: { ...unset, ...primary, name: sideName(pair, 'primary') },
    },
  };
}

const unset = {
  accel: undefined,
  serial: undefined,
  monitor: undefined,
  qmp: undefined,
  options: undefined,
};

const otherWay = <T extends { primary: string; secondary: string }>(both: T): T => ({
  ...both,
  primary: both.secondary,
  secondary: both.primary,
});
