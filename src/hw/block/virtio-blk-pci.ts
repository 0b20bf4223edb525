/** `-device virtio-blk-pci`: what a disk takes. */
import { nothing } from '../../words/nothing.js';
import { oneOf, optional, parsed, str } from '../../words/types.js';
import { VmError } from '../../base/errors.js';
import { bootIndex, deviceType } from '../device-type.js';
import { VirtioBlk } from './virtio-blk.js';

const SECTORS = 'A disk has sectors of 512 bytes.';
/** auto: as the drive has it. */
const given = <W extends string>(word: W | 'auto' | undefined): W | undefined =>
  word === 'auto' ? undefined : word;

export const virtioBlkPci = deviceType({
  name: 'virtio-blk-pci',
  summary: 'a disk: the guest side of a -drive or a -blockdev',
  properties: {
    drive: str('id of a -drive, or name of a node', { complete: 'block-nodes' }),
    serial: optional(
      parsed('serial number, at most 20 letters; default: the drive', 'text', serialNumber),
    ),
    werror: optional(
      oneOf(
        ['report', 'ignore', 'stop', 'enospc', 'auto'],
        'when a write fails; auto: as the drive',
      ),
    ),
    rerror: optional(
      oneOf(['report', 'ignore', 'stop', 'auto'], 'when a read fails; auto: as the drive'),
    ),
    bootindex: bootIndex,
    'write-cache': optional(oneOf(['on', 'off', 'auto'], 'auto: as the drive has it')),
    logical_block_size: nothing(['512'], SECTORS),
    physical_block_size: nothing(['512'], SECTORS),
    scsi: nothing(['off'], 'virtio-blk passes no SCSI commands on. Leave it out.'),
    'num-queues': nothing(['1'], 'A disk has one queue.'),
  },
  uses: { drive: 'drive' },
  example: 'drive=disk0',
  plug(id, { drive, serial = drive, werror, rerror, bootindex, ...rest }, slots) {
    const { 'write-cache': writeCache } = rest;
    const cache = given(writeCache);
    const backend = slots.drive(drive, id, {
      werror: given(werror),
      rerror: given(rerror),
      writeCache: cache && cache === 'on',
    });
    const path = (slot: string) => `scsi@${slot}/disk@0,0`;
    slots.addVirtio(id, new VirtioBlk(backend, serial), { index: bootindex, path });
  },
});

/** What virtio has room for. */
function serialNumber(text: string, name: string): string {
  if (!/^[\x20-\x7e]{0,20}$/.test(text))
    throw new VmError(`${name}=${text}: at most 20 letters, digits and signs`);
  return text;
}
