/**
 * Copies between files of the host, in any format: one job reads, looks for zeroes and writes, and
 * no byte comes to JavaScript.
 */
import type { OpenFile, UnitCopy } from '../../host/ports.js';
import type { DataPlace } from '../contract/driver.js';
import { inRole } from '../contract/roles.js';
import { Qcow2Driver } from '../drivers/qcow2/driver.js';
import type { BlockNode } from '../contract/node.js';

/** The longest unit that a job takes. */
const MAX_UNIT = 2 * 1024 * 1024;

/**
 * A flag for each unit: 0 = it is all zeroes, and was left out. Undefined: nothing was done, it has
 * to be copied by hand.
 */
export type HostCopy = (
  at: number,
  length: number,
  place: DataPlace,
) => Promise<Uint8Array | undefined>;

/** Undefined: this target takes none. */
export function hostCopyTo(target: BlockNode, unit: number): HostCopy | undefined {
  const file = inRole('file', target.children.get('file'));
  if (!file || unit > MAX_UNIT) return undefined;
  const copy = async (place: DataPlace, part: Omit<UnitCopy, 'from' | 'unit'>) => {
    const source = hostFile(place);
    await file.intend?.(part.to, part.length);
    return source && file.hostFile.copyFrom?.(source, { ...part, from: place.offset, unit });
  };
  const { driver } = target;
  if (driver.format === 'raw')
    return (at, length, place) => copy(place, { to: at, length, packed: false });
  if (!(driver instanceof Qcow2Driver) || unit % driver.unit !== 0) return undefined;
  return async (at, length, { node, offset }) => {
    if (!hostFile({ node, offset })) return undefined;
    await driver.intend(at, length);
    return driver.fillNew(at, length, unit, (done, to, part) =>
      copy({ node, offset: offset + done }, { to, length: part, packed: true }),
    );
  };
}

/**
 * The first byte that differs between two places, or from zeroes at one; -1: none. Undefined: it
 * has to be read by hand.
 */
export function differenceOnHost(
  length: number,
  places: readonly (DataPlace | undefined)[],
): Promise<number> | undefined {
  const [one, two] = places.map(place => ({
    file: place && hostFile(place),
    offset: place?.offset ?? 0,
  }));
  if (!one.file || (two && !two.file)) return undefined;
  return one.file.differenceAt?.(
    one.offset,
    length,
    two?.file && { file: two.file, offset: two.offset },
  );
}

function hostFile({ node }: DataPlace): OpenFile | undefined {
  return inRole('file', node)?.hostFile;
}
