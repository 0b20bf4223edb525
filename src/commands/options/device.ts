/**
 * `-netdev`, `-device`, `-drive`: each as the spec has it. What a spec cannot say is refused by
 * name.
 */
import { VmError } from '../../base/errors.js';
import { KeyValues, parseKeyValues } from '../../words/key-values.js';
import type { DiskProperties } from '../../block/contract.js';
import type { DeviceModel, DeviceSpec, DriveSpec, NetdevSpec } from '../../machine/spec.js';
import { readNetdev } from '../../monitor/objects/netdevs.js';
import { deviceModel, propertiesOf } from './device-properties.js';
import { ofACard, ofADisk, takeNothing } from './nothing.js';
import { parseTree, takeWord } from './tree.js';

/** Names for what was given without an id; both sides of a pair count alike. */
export class Ids {
  private readonly counts = new Map<string, number>();
  private readonly taken = new Map<string, Set<string>>();

  fresh(prefix: string): string {
    const n = this.counts.get(prefix) ?? 0;
    this.counts.set(prefix, n + 1);
    return `${prefix}${n}`;
  }

  /** Each kind (drive, device, ...) is a name space of its own. */
  claim(kind: string, id: string): string {
    const names = this.taken.get(kind) ?? new Set();
    this.taken.set(kind, names);
    if (!/^[A-Za-z][A-Za-z0-9._-]*$/.test(id))
      throw new VmError(`'${id}' is not an id: letters, digits and - . _, a letter first`);
    if (names.has(id)) throw new VmError(`there are two ${kind}s with id '${id}'`);
    names.add(id);
    return id;
  }
}

export function parseDrive(text: string, ids: Ids): DriveSpec {
  const options = parseTree(text);
  const kind = takeWord(options, 'if') ?? 'virtio';
  if (kind !== 'virtio' && kind !== 'none')
    throw new VmError(`if=${kind} is not supported; colo has if=virtio and if=none`);
  const id = takeWord(options, 'id') ?? ids.fresh(kind);
  return { id: ids.claim('drive', id), interface: kind, options };
}

export function parseNetdev(text: string, ids: Ids): NetdevSpec {
  const spec = readNetdev(text);
  ids.claim('netdev', spec.id);
  return spec;
}

export function parseDevice(text: string, ids: Ids): DeviceSpec {
  const options = new KeyValues(parseKeyValues(text, 'driver'));
  const model = deviceModel(options.need('driver'));
  const id = ids.claim('device', options.take('id') ?? ids.fresh(model));
  switch (model) {
    case 'virtio-blk-pci':
      return parseDisk(id, options);
    case 'virtio-net-pci':
      takeNothing(options, ofACard);
      return finish(
        { model, id, netdev: options.need('netdev'), mac: macAddress(options.take('mac')) },
        options,
        model,
      );
    case 'isa-debug-exit': {
      const iobase = options.takeInteger('iobase', { min: 0, max: 0xffff }) ?? 0x501;
      const iosize = options.takeInteger('iosize', { min: 1, max: 4 }) ?? 4;
      if (iosize !== 4) throw new VmError(`iosize=${iosize} is not supported: it is 4`);
      return finish({ model, id, iobase }, options, model);
    }
  }
}

function parseDisk(id: string, options: KeyValues): DeviceSpec {
  takeNothing(options, ofADisk);
  const writeCache = oneOf(options, 'write-cache', ['on', 'off']);
  const disk: DiskProperties = {
    werror: oneOf(options, 'werror', ['report', 'ignore', 'stop', 'enospc']),
    rerror: oneOf(options, 'rerror', ['report', 'ignore', 'stop']),
    writeCache: writeCache && writeCache === 'on',
  };
  for (const key of ['logical_block_size', 'physical_block_size']) {
    const size = options.take(key) ?? '512';
    if (size !== '512')
      throw new VmError(`${key}=${size} is not supported: a disk has sectors of 512 bytes`);
  }
  const model = 'virtio-blk-pci';
  const serial = serialNumber(options.take('serial'));
  return finish({ model, id, drive: options.need('drive'), serial, disk }, options, model);
}

/** auto: as the drive has it. */
function oneOf<const W extends string>(
  options: KeyValues,
  key: string,
  words: readonly W[],
): W | undefined {
  const value = options.take(key) ?? 'auto';
  if (value === 'auto') return undefined;
  const word = words.find(known => known === value);
  if (word === undefined) throw new VmError(`${key}=${value}: it takes ${words.join(', ')}`);
  return word;
}

/** What virtio has room for. */
function serialNumber(text: string | undefined): string | undefined {
  if (text !== undefined && !/^[\x20-\x7e]{0,20}$/.test(text))
    throw new VmError(`serial=${text}: at most 20 letters, digits and signs`);
  return text;
}

function macAddress(text: string | undefined): string | undefined {
  if (text === undefined) return undefined;
  if (!/^[0-9a-f]{2}([:-][0-9a-f]{2}){5}$/i.test(text))
    throw new VmError(`mac=${text} is not six pairs of hexadecimal digits`);
  const mac = text.toLowerCase().replaceAll('-', ':');
  if (parseInt(mac.slice(0, 2), 16) & 1) throw new VmError(`mac=${text} is a multicast address`);
  return mac;
}

function finish<T>(spec: T, options: KeyValues, model: DeviceModel): T {
  options.done(propertiesOf(model));
  return spec;
}
