/** The devices of a spec: those of -device, and those that come with a -drive. */
import { VmError } from '../base/errors.js';
import type { DriveInterface } from '../block/options/options.js';
import type { DeviceSpec, DriveOption, MachineSpec } from './spec.js';

const IDE_PLACES = 4;

/** What comes with a drive of this interface. */
export function impliedModel(kind: DriveInterface): string | undefined {
  return { virtio: 'virtio-blk-pci', ide: 'ide-hd', none: undefined }[kind];
}

/**
 * Those that come with drives are named by their positions, for both sides of a pair must have the
 * same devices while their drives are called differently (the secondary's guest disk is the
 * overlay).
 */
export function allDevices({ drives, devices }: MachineSpec): DeviceSpec[] {
  const virtio = drives
    .filter(drive => drive.interface === 'virtio')
    .map((drive, n) => ({
      model: 'virtio-blk-pci',
      id: `virtio-disk${n}`,
      properties: { drive: drive.id },
    }));
  const ide = [...idePlaces(drives)].map(([drive, place]) => ({
    model: 'ide-hd',
    id: `ide-disk${place}`,
    properties: { drive: drive.id, bus: `ide.${place >> 1}`, unit: place & 1 },
  }));
  return [...virtio, ...ide, ...devices];
}

/** VmError: there are more than fit, or two at one place. */
export function checkIdeDrives({ drives }: MachineSpec): void {
  const taken = new Map<number, string>();
  for (const [{ id }, place] of idePlaces(drives)) {
    const other = taken.get(place);
    if (other !== undefined)
      throw new VmError(`-drive id=${id}: index=${place} of if=ide is taken by ${other}`);
    if (place >= IDE_PLACES)
      throw new VmError(`-drive id=${id}: if=ide has ${IDE_PLACES} places, and all are taken`);
    taken.set(place, id);
  }
}

/** Where `index` says, or the first place that no other one says it has. */
function idePlaces(drives: readonly DriveOption[]): Map<DriveOption, number> {
  const ide = drives.filter(drive => drive.interface === 'ide');
  const said = new Set(ide.flatMap(({ options: { index } }) => (index ? [Number(index)] : [])));
  let next = 0;
  return new Map(
    ide.map(drive => {
      const { index } = drive.options;
      if (index !== undefined) return [drive, Number(index)];
      while (said.has(next)) next++;
      return [drive, next++];
    }),
  );
}
