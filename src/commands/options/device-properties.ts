/** What a -device takes, and `-device help`. */
import { VmError } from '../../base/errors.js';
import { didYouMean } from '../../base/similar.js';
import { type DeviceModel, deviceModels } from '../../machine/spec.js';
import { asksForHelp, listOf } from './help.js';

const summaries: Readonly<Record<DeviceModel, string>> = {
  'virtio-blk-pci': 'a disk: the guest side of a -drive or a -blockdev',
  'virtio-net-pci': 'a network card: the guest side of a -netdev',
  'isa-debug-exit': 'for test guests: what they write there is the exit code',
};

const errors = 'report, ignore, stop';
const properties: Readonly<Record<DeviceModel, Readonly<Record<string, string>>>> = {
  'virtio-blk-pci': {
    id: 'name of the device',
    drive: 'id of a -drive, or name of a node',
    serial: 'serial number, at most 20 letters; default: the drive',
    werror: `when a write fails: ${errors}, enospc`,
    rerror: `when a read fails: ${errors}`,
    'write-cache': 'on, off, or auto: as the drive has it',
    logical_block_size: '512',
    physical_block_size: '512',
  },
  'virtio-net-pci': {
    id: 'name of the device',
    netdev: 'id of a -netdev',
    mac: 'hardware address; default: 52:54:00:12:34:56 and up',
  },
  'isa-debug-exit': {
    id: 'name of the device',
    iobase: 'I/O port; default 0x501',
    iosize: '4',
  },
};

export const propertiesOf = (model: DeviceModel): string =>
  Object.keys(properties[model]).join(', ');

export function deviceModel(name: string): DeviceModel {
  const model = deviceModels.find(known => known === name);
  if (model !== undefined) return model;
  const have = `it has ${deviceModels.join(', ')}.${didYouMean(name, deviceModels)}`;
  throw new VmError(`'${name}' is not a device of colo; ${have}`);
}

/** `help`, or `MODEL,help`; undefined: no help was asked for. */
export function deviceHelp(text: string): string | undefined {
  const [head, ...rest] = text.split(',');
  if (asksForHelp(head)) return listOf('Devices:', summaries);
  if (!rest.some(asksForHelp)) return undefined;
  const model = deviceModel(head.replace(/^driver=/, ''));
  return listOf(`${model} options:`, properties[model]);
}
