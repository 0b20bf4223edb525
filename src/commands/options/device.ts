/**
 * `-netdev`, `-device`, `-drive`: each as the spec has it. What a spec cannot say is refused by
 * name.
 */
import { VmError } from '../../base/errors.js';
import { deviceTypeNamed, deviceTypes } from '../../hw/device-types.js';
import type { DeviceSpec, DriveSpec, NetdevSpec } from '../../machine/spec.js';
import { readNetdev } from '../../vm/objects/netdevs.js';
import { fromWords } from '../../words/from-words.js';
import type { KeyValue } from '../../words/key-values.js';
import { namedHelp, namedItems } from '../../words/named.js';
import { parseNested, takeWord } from '../../words/nested.js';

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
  const options = parseNested(text);
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

/** `virtio-blk-pci,drive=disk0`, or the same as JSON. */
export function parseDevice(items: readonly KeyValue[], ids: Ids): DeviceSpec {
  const { kind, id, own } = namedItems(items, 'driver');
  const type = deviceTypeNamed(kind);
  return {
    model: type.name,
    id: ids.claim('device', id ?? ids.fresh(type.name)),
    properties: fromWords(type.properties, own),
  };
}

/** `help`, or `MODEL,help`; undefined: no help was asked for. */
export const deviceHelp = (text: string): string | undefined =>
  namedHelp(
    text,
    'Available devices:',
    Object.fromEntries(deviceTypes.map(type => [type.name, { ...type, fields: type.properties }])),
    name => deviceTypeNamed(name).name,
  );
