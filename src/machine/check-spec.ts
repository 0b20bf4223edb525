/**
 * What can be said of a spec before anything is opened. The rest (files, images, taps) fails where
 * it is opened, with its option in front.
 */
import { VmError } from '../base/errors.js';
import { deviceTypeNamed } from '../hw/device-types.js';
import type { DeviceUse } from '../hw/device-type.js';
import { VGA_MODEL, VIDEO_BYTES } from '../hw/display/vga-device.js';
import { PCI_SLOTS } from '../hw/pci/bus.js';
import { COM_PORTS } from './board.js';
import { type CheckedDisks, checkDisks, nodeNames } from './check-disks.js';
import { checkUsb } from './check-usb.js';
import { allDevices, checkIdeDrives } from './implied-devices.js';
import { MIB } from './loader/memory-map.js';
import type { DeviceSpec, MachineSpec } from './spec.js';

/** kMaxCpus in native/vcpu/contract.h. */
const MAX_CPUS = 8;
const MIN_RAM = 16 * MIB;
const MAX_RAM = 256 * 1024 * MIB;

/** What a machine is built from: a spec that was checked, with its disks as they are opened. */
export interface CheckedSpec extends MachineSpec {
  readonly disks: CheckedDisks;
}

/** VmError: the first mistake, with its option in front. */
export function checkSpec(spec: MachineSpec): CheckedSpec {
  if (
    !Number.isSafeInteger(spec.ramBytes) ||
    spec.ramBytes % MIB !== 0 ||
    spec.ramBytes < MIN_RAM ||
    spec.ramBytes > MAX_RAM
  ) {
    throw new VmError(
      `-m: ${spec.ramBytes / MIB} MiB is not a whole number from ${MIN_RAM / MIB} to ` +
        `${MAX_RAM / MIB}`,
    );
  }
  if (!(spec.cpus >= 1 && spec.cpus <= MAX_CPUS))
    throw new VmError(`-smp ${spec.cpus}: machines have 1 to ${MAX_CPUS} vCPUs`);
  if (spec.lockstep === true && spec.accel !== 'soft')
    throw new VmError(
      `-accel ${spec.accel}: lockstep=on is the software CPU's; say -accel soft,lockstep=on`,
    );
  if (spec.kernel === undefined) {
    if (spec.incoming === undefined && !spec.startPaused && !bootsFirmware(spec))
      throw new VmError('-kernel is missing, and there is no disk that firmware could boot');
    if (spec.initrd !== undefined) throw new VmError('-initrd without -kernel');
    if (spec.append !== '') throw new VmError('-append without -kernel');
  }
  const { boot } = spec;
  const direct = spec.kernel !== undefined && spec.bios === undefined;
  if (boot && direct && (boot.menu || !boot.order.startsWith('c')))
    throw new VmError('-boot: what boots is the kernel of -kernel', {
      hint: 'Leave -boot out, or say -boot c; with -bios, or without -kernel, firmware boots.',
    });
  if (spec.serials.length > COM_PORTS.length)
    throw new VmError(`-serial: ${spec.serials.length} given, a PC has ${COM_PORTS.length}`);
  unique('-chardev', spec.chardevs);
  unique('-drive', spec.drives);
  uniqueNodes(spec);
  checkIdeDrives(spec);
  unique('-netdev', spec.netdevs);
  unique('-device', allDevices(spec));
  if (cards(spec) > 1) throw new VmError('-device VGA: a machine has one graphics card');
  if (allDevices(spec).length > PCI_SLOTS - 1)
    throw new VmError(`-device: more than ${PCI_SLOTS - 1} do not fit the PCI bus`);
  checkUsb(allDevices(spec));
  claims(spec);
  return { ...spec, disks: checkDisks(spec) };
}

const cards = (spec: MachineSpec): number =>
  allDevices(spec).filter(({ model }) => model === VGA_MODEL).length;

/** Memory of its graphics card. */
export const videoBytes = (spec: MachineSpec): number => cards(spec) * VIDEO_BYTES;

function unique(option: string, items: readonly { id: string }[]): void {
  const seen = new Set<string>();
  for (const { id } of items) {
    if (seen.has(id)) throw new VmError(`${option}: there are two with id '${id}'`);
    seen.add(id);
  }
}

/** Drives and nodes share their names. */
function uniqueNodes(spec: MachineSpec): void {
  const seen = new Set<string>();
  for (const { nodeName } of spec.blockdevs) {
    if (seen.has(nodeName))
      throw new VmError(`-blockdev: there are two with node-name '${nodeName}'`);
    seen.add(nodeName);
  }
  for (const { id } of spec.drives)
    if (seen.has(id)) throw new VmError(`-drive id=${id}: a -blockdev has that node-name`);
}

/** Every chardev, drive and netdev that is named exists, and is used once. */
function claims(spec: MachineSpec): void {
  const claim = (
    kind: string,
    known: readonly { id: string }[],
    forMany = new Set<string>(),
    any = kind,
  ) => {
    const users = new Map<string, string>();
    return (id: string, user: string) => {
      if (!known.some(item => item.id === id))
        throw new VmError(`${user}: there is no ${any} '${id}'`);
      const other = users.get(id);
      if (other !== undefined && !forMany.has(id))
        throw new VmError(`${user}: ${kind} '${id}' is taken by ${other}`);
      users.set(id, user);
    };
  };
  const chardev = claim(
    'chardev',
    spec.chardevs,
    new Set(spec.chardevs.filter(c => c.backend.kind === 'mux').map(c => c.id)),
  );
  const nodes = nodeNames(spec);
  // Whether a node has room for another user is the block layer's to say.
  const drive = claim(
    'drive',
    [...spec.drives, ...nodes],
    new Set(nodes.map(({ id }) => id)),
    'drive or node',
  );
  const netdev = claim('netdev', spec.netdevs);
  spec.serials.forEach(id => chardev(id, '-serial'));
  spec.monitors.forEach(({ chardev: id, mode }) =>
    chardev(id, mode === 'qmp' ? '-qmp' : '-monitor'),
  );
  const take = { drive, netdev, chardev };
  for (const device of allDevices(spec))
    for (const { kind, name } of usesOf(device))
      take[kind](name, `-device ${device.model},id=${device.id}`);
}

/** Firmware runs where -bios names it, or where without a kernel there is a disk to boot. */
export function bootsFirmware(spec: MachineSpec): boolean {
  if (spec.bios !== undefined) return true;
  if (spec.kernel !== undefined) return false;
  const hasDisk = () =>
    allDevices(spec).some(device => usesOf(device).some(({ kind }) => kind === 'drive'));
  return hasDisk();
}

/** What a device is of outside. */
export function usesOf({ model, properties }: DeviceSpec): { kind: DeviceUse; name: string }[] {
  return Object.entries(deviceTypeNamed(model).uses).map(([kind, property]) => ({
    kind: kind as DeviceUse,
    name: String(properties[property]),
  }));
}
