/** `-device ide-hd`: what an IDE device takes. */
import { VmError } from '../../base/errors.js';
import { int, oneOf, optional } from '../../words/types.js';
import { diskFields, diskProperties, serialField } from '../block/disk-properties.js';
import { deviceType } from '../device-type.js';
import { AtaDisk } from './ata-disk.js';

const { drive, ...others } = diskFields;
const buses = ['ide.0', 'ide.1'] as const;
const placeFields = {
  bus: optional(oneOf(buses, 'channel; default: the first with room')),
  unit: optional(int('0: master, 1: slave; default: the first that is free', { min: 0, max: 1 })),
};

const busNumber = (bus: (typeof buses)[number] | undefined): number | undefined =>
  bus && buses.indexOf(bus);

export const ideHd = deviceType({
  name: 'ide-hd',
  summary: 'an IDE disk, for guests without drivers of virtio',
  properties: { drive, ...placeFields, serial: serialField('COLO and its place'), ...others },
  uses: { drive: 'drive' },
  example: 'drive=disk0',
  plug(id, { drive: name, bus, unit, serial, bootindex, ...rest }, slots) {
    const backend = slots.drive(name, id, diskProperties(rest));
    if (backend.readOnly)
      throw new VmError(`${id}: drive '${name}' is read-only, and an IDE disk cannot say so`, {
        hint: 'Use -device virtio-blk-pci for it.',
      });
    slots.addIde(
      id,
      { bus: busNumber(bus), unit },
      port => new AtaDisk(id, backend, port, slots.clock, serial ?? `COLO0000${port.place + 1}`),
      { index: bootindex },
    );
  },
});
