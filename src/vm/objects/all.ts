/**
 * Every object type that a machine of ours can have, and those of QEMU that it cannot, with the
 * reason.
 */
import { VmError } from '../../base/errors.js';
import { didYouMean } from '../../base/similar.js';
import { namedHelp } from '../../words/named.js';
import { filterTypes } from './filters.js';
import { tlsCredsTypes } from './tls-creds.js';
import type { ObjectType } from './type.js';

export const objectTypes: readonly ObjectType[] = [...filterTypes, ...tlsCredsTypes];

const COMPARE_MODE =
  'it belongs to compare mode, where the secondary runs along and the outputs are compared; ' +
  'here the secondary stands still between checkpoints, and the output of every netdev is ' +
  'held until one covers it';
const refusedTypes: Readonly<Record<string, string>> = {
  'colo-compare': COMPARE_MODE,
  'filter-rewriter': COMPARE_MODE,
  'throttle-group':
    'limits are of a disk: throttling.group=NAME of -drive, or block_set_io_throttle with ' +
    'group, shares one budget between several',
  iothread: 'devices of colo do their work on the main loop; leave iothread=... out',
};

/** Named as QEMU names it, with what there is. */
export function objectTypeNamed(name: string): ObjectType {
  const found = objectTypes.find(type => type.name === name);
  if (found) return found;
  if (Object.hasOwn(refusedTypes, name))
    throw new VmError(`object type '${name}' is not supported: ${refusedTypes[name]}`);
  const names = objectTypes.map(type => type.name).sort();
  throw new VmError(`Parameter 'qom-type' does not accept value '${name.slice(0, 64)}'`, {
    hint: `Object types: ${names.join(', ')}.${didYouMean(name, names)}`,
  });
}

/** `-object help`, or `TYPE,help`; undefined: no help was asked for. */
export const objectHelp = (text: string): string | undefined =>
  namedHelp(
    text,
    'List of user creatable objects:',
    Object.fromEntries(
      [...objectTypes].sort((a, b) => (a.name < b.name ? -1 : 1)).map(type => [type.name, type]),
    ),
    name => objectTypeNamed(name).name,
  );
