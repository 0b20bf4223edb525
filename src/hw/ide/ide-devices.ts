/** `-device ide-hd`: what an IDE device takes. */
import { VmError } from '../../base/errors.js';
import { int, oneOf, optional } from '../../words/types.js';
import { diskFields, diskProperties, serialField } from '../block/disk-properties.js';
import { deviceType } from '../device-type.js';
import { AtaDisk } from './ata-disk.js';
import { AtapiCd } from './atapi-cd.js';

const { drive, ...others } = diskFields;
const { rerror, bootindex: bootOrder } = diskFields;
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

export const ideCd = deviceType({
  name: 'ide-cd',
  summary: 'a CD-ROM drive; what its -drive has is read-only, and may be changed or not there',
  properties: {
    drive,
    ...placeFields,
    serial: serialField('COLO and its place'),
    rerror,
    bootindex: bootOrder,
  },
  uses: { drive: 'drive' },
  example: 'drive=cd0',
  plug(id, { drive: name, bus, unit, serial, bootindex, rerror: onError }, slots) {
    const properties = diskProperties({ rerror: onError });
    const backend = slots.drive(name, id, { ...properties, removable: true });
    slots.addIde(
      id,
      { bus: busNumber(bus), unit },
      port => new AtapiCd(id, backend, port, slots.clock, serial ?? `COLO0000${port.place + 1}`),
      { index: bootindex },
    );
  },
});
