/** What a -device says of its disk, whichever bus it is on. */
import { VmError } from '../../base/errors.js';
import type { DiskProperties } from '../../block/contract/backend.js';
import { nothing } from '../../words/nothing.js';
import { type ArgsOf, oneOf, optional, parsed, str } from '../../words/types.js';
import { bootIndex } from '../device-type.js';

const SECTORS = 'A disk has sectors of 512 bytes.';

export const diskFields = {
  drive: str('id of a -drive, or name of a node', { complete: 'block-nodes' }),
  werror: optional(
    oneOf(['report', 'ignore', 'stop', 'enospc', 'auto'], 'when a write fails; auto: as the drive'),
  ),
  rerror: optional(
    oneOf(['report', 'ignore', 'stop', 'auto'], 'when a read fails; auto: as the drive'),
  ),
  bootindex: bootIndex,
  'write-cache': optional(oneOf(['on', 'off', 'auto'], 'auto: as the drive has it')),
  logical_block_size: nothing(['512'], SECTORS),
  physical_block_size: nothing(['512'], SECTORS),
};

/** auto: as the drive has it. */
const given = <W extends string>(word: W | 'auto' | undefined): W | undefined =>
  word === 'auto' ? undefined : word;

export function diskProperties(
  d: Pick<ArgsOf<typeof diskFields>, 'werror' | 'rerror' | 'write-cache'>,
): DiskProperties {
  const cache = given(d['write-cache']);
  return {
    werror: given(d.werror),
    rerror: given(d.rerror),
    writeCache: cache && cache === 'on',
  };
}

/** A serial number that a bus has room for. */
export const serialField = (fallback: string) =>
  optional(parsed(`serial number, at most 20 letters; default: ${fallback}`, 'text', serialNumber));

function serialNumber(text: string, name: string): string {
  if (!/^[\x20-\x7e]{0,20}$/.test(text))
    throw new VmError(`${name}=${text}: at most 20 letters, digits and signs`);
  return text;
}
