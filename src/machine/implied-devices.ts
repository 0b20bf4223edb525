/** The devices of a spec: those of -device, and those that come with a -drive. */
import { asVmError, VmError } from '../base/errors.js';
import { IDE_PLACES, idePositionOf } from '../hw/ide/places.js';
import type { NestedWords } from '../words/nested.js';
import type { DeviceSpec, DriveOption, MachineSpec } from './spec.js';

export const isCdrom = ({ options }: Pick<DriveOption, 'options'>): boolean =>
  options['media'] === 'cdrom';

/** What comes with a drive. */
export function impliedModel(drive: DriveOption): string | undefined {
  const ide = isCdrom(drive) ? 'ide-cd' : 'ide-hd';
  return { virtio: 'virtio-blk-pci', ide, none: undefined }[drive.interface];
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
    model: isCdrom(drive) ? 'ide-cd' : 'ide-hd',
    id: `${isCdrom(drive) ? 'ide-cd' : 'ide-disk'}${place}`,
    properties: ideProperties(drive.id, place),
  }));
  return [...virtio, ...ide, ...devices];
}

function ideProperties(drive: string, place: number): DeviceSpec['properties'] {
  const { bus, unit } = idePositionOf(place);
  return { drive, bus: `ide.${bus}`, unit };
}

/** Undefined: `index` is not said. VmError: there is no such place. */
export function ideIndex({ index }: NestedWords): number | undefined {
  if (index === undefined) return undefined;
  const place = IDE_PLACES.find(n => String(n) === index);
  if (place !== undefined) return place;
  const said = typeof index === 'string' ? index : '...';
  throw new VmError(`index=${said}: if=ide has places 0 to ${IDE_PLACES.length - 1}`);
}

/** VmError: there are more than fit, one where no place is, or two at one place. */
export function checkIdeDrives({ drives }: MachineSpec): void {
  const taken = new Map<number, string>();
  for (const [{ id }, place] of idePlaces(drives)) {
    const other = taken.get(place);
    if (other !== undefined)
      throw new VmError(`-drive id=${id}: index=${place} of if=ide is taken by ${other}`);
    if (!IDE_PLACES.includes(place))
      throw new VmError(
        `-drive id=${id}: if=ide has ${IDE_PLACES.length} places, and all are taken`,
      );
    taken.set(place, id);
  }
}

/** Where `index` says, or the first place that no other one says it has. */
function idePlaces(drives: readonly DriveOption[]): Map<DriveOption, number> {
  const ide = drives
    .filter(drive => drive.interface === 'ide')
    .map(drive => ({ drive, place: placeSaid(drive) }));
  const said = new Set(ide.map(({ place }) => place));
  let next = 0;
  return new Map(
    ide.map(({ drive, place }) => {
      if (place !== undefined) return [drive, place];
      while (said.has(next)) next++;
      return [drive, next++];
    }),
  );
}

function placeSaid({ id, options }: DriveOption): number | undefined {
  try {
    return ideIndex(options);
  } catch (error) {
    throw asVmError(error).during(`-drive id=${id}`);
  }
}
