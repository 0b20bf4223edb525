/** `-device virtio-blk-pci`: what a disk takes. */
import { nothing } from '../../words/nothing.js';
import { deviceType } from '../device-type.js';
import { diskFields, diskProperties, serialField } from './disk-properties.js';
import { VirtioBlk } from './virtio-blk.js';

const { drive, ...others } = diskFields;

export const virtioBlkPci = deviceType({
  name: 'virtio-blk-pci',
  summary: 'a disk: the guest side of a -drive or a -blockdev',
  properties: {
    drive,
    serial: serialField('the drive'),
    ...others,
    scsi: nothing(['off'], 'virtio-blk passes no SCSI commands on. Leave it out.'),
    'num-queues': nothing(['1'], 'A disk has one queue.'),
  },
  uses: { drive: 'drive' },
  example: 'drive=disk0',
  plug(id, { drive: name, serial = name, bootindex, ...rest }, slots) {
    const backend = slots.drive(name, id, diskProperties(rest));
    const path = (slot: string) => `scsi@${slot}/disk@0,0`;
    slots.addVirtio(id, new VirtioBlk(backend, serial), { index: bootindex, path });
  },
});
