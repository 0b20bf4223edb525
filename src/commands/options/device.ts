/**
 * `-drive`, `-netdev`, `-device`, `-object`: each as the spec has it. What a spec cannot say is
 * refused by name.
 */
import { asVmError, VmError } from '../../base/errors.js';
import { type DriveInterface, driveInterfaces } from '../../block/options/options.js';
import { deviceTypeNamed, deviceTypes } from '../../hw/device-types.js';
import { idePlaceOf, idePositionOf } from '../../hw/ide/places.js';
import { ideIndex, isCdrom } from '../../machine/implied-devices.js';
import type { DeviceSpec, DriveOption } from '../../machine/spec.js';
import { objectHelp, objectTypes } from '../../vm/objects/all.js';
import { netdevHelp, netdevHelped, readNetdev } from '../../vm/objects/netdevs.js';
import { readObject } from '../../vm/objects/registry.js';
import { fromWords } from '../../words/from-words.js';
import { type KeyValue, parseItems } from '../../words/key-values.js';
import { namedHelp, namedItems } from '../../words/named.js';
import { type NestedWords, parseNested, takeWord } from '../../words/nested.js';
import { UsageError } from './argv.js';
import type { GlobalProperty } from './draft.js';
import { Ids } from './ids.js';
import { answerHelp, kindOffers, type VmOption } from './option.js';

const deviceHelped = Object.fromEntries(
  deviceTypes.map(type => [type.name, { ...type, fields: type.properties }]),
);

export const driveOption: VmOption = {
  name: 'drive',
  value: 'OPTS',
  repeatable: true,
  summary:
    'disk: if=virtio (default), ide or none,id=ID,driver=...,file.filename=PATH,...; ' +
    'media=cdrom[,file=PATH]: a CD-ROM drive on IDE',
  take: (draft, value) => void draft.spec.drives.push(readDriveOption(value, draft.ids)),
};

const idePlaces = ['hda', 'hdb', 'hdc', 'hdd'] as const;

/** `-hda FILE`: the same as `-drive if=ide,index=0,file=FILE`. */
export const ideOptions: readonly VmOption[] = idePlaces.map((name, index) => ({
  name,
  value: 'FILE',
  summary: `an IDE disk; the same as -drive if=ide,index=${index},file=FILE`,
  take({ spec, ids }, file) {
    const options = { file, index: String(index) };
    spec.drives.push(driveOf('ide', options, ids));
  },
}));

/** The same as `-drive if=ide,index=2,media=cdrom,file=FILE`. */
export const cdromOption: VmOption = {
  name: 'cdrom',
  value: 'FILE',
  summary:
    'a CD-ROM drive with FILE in it; the same as -drive if=ide,index=2,media=cdrom,file=FILE',
  take({ spec, ids }, file) {
    const options = { file, index: '2', media: 'cdrom' };
    spec.drives.push(driveOf('ide', options, ids));
  },
};

export const netdevOption: VmOption = {
  name: 'netdev',
  value: 'OPTS',
  repeatable: true,
  summary:
    'host side of a network card: tap,id=ID[,ifname=NAME][,script=PATH][,downscript=PATH]; ' +
    'socket,id=ID,listen=HOST:PORT or connect=HOST:PORT; ' +
    'user,id=ID[,hostfwd=tcp:127.0.0.1:2222-:22], which needs no rights; -netdev help',
  offers: kindOffers(netdevHelped),
  take(draft, value) {
    answerHelp(netdevHelp(value));
    const spec = readNetdev(value);
    draft.ids.claim('netdev', spec.id);
    draft.spec.netdevs.push(spec);
  },
};

export const deviceOption: VmOption = {
  name: 'device',
  value: 'OPTS',
  repeatable: true,
  summary:
    'disk, network card or other device: NAME,PROPERTY=VALUE,..., or the same as JSON; ' +
    '-device help lists the names, -device NAME,help the properties',
  offers: kindOffers(deviceHelped),
  take(draft, value) {
    answerHelp(deviceHelp(value));
    draft.spec.devices.push(deviceWithGlobals(value, draft.ids, draft.globals));
  },
};

export const objectOption: VmOption = {
  name: 'object',
  value: 'OPTS',
  repeatable: true,
  summary:
    'packet filter or other object: TYPE,id=ID,PROPERTY=VALUE,...; -object help lists the ' +
    'types, -object TYPE,help the properties',
  offers: kindOffers(Object.fromEntries(objectTypes.map(type => [type.name, type]))),
  take({ spec, ids }, value) {
    answerHelp(objectHelp(value));
    const { type, id, properties } = readObject(value);
    spec.objects.push({ type: type.name, id: ids.claim('object', id), properties });
  },
};

function readDriveOption(text: string, ids: Ids): DriveOption {
  const options = parseNested(text);
  const kind = takeWord(options, 'if') ?? (isCdrom({ options }) ? 'ide' : 'virtio');
  const known = driveInterfaces.find(word => word === kind);
  if (!known)
    throw new VmError(`if=${kind} is not supported; colo has if=${driveInterfaces.join(', if=')}`);
  return driveOf(known, options, ids);
}

function driveOf(kind: DriveInterface, options: NestedWords, ids: Ids): DriveOption {
  const given = takeWord(options, 'id');
  if (kind === 'ide') placeByUnit(options);
  const index = kind === 'ide' ? ideIndex(options) : undefined;
  // As QEMU calls them.
  const named = index === undefined ? undefined : ideName(index, isCdrom({ options }));
  const id = ids.claim('drive', given ?? named ?? ids.fresh(kind));
  return { id, interface: kind, options };
}

function ideName(index: number, cdrom: boolean): string {
  const { bus, unit } = idePositionOf(index);
  return `ide${bus}-${cdrom ? 'cd' : 'hd'}${unit}`;
}

/** `bus=1,unit=0` is another way to say `index=2`. */
function placeByUnit(options: NestedWords): void {
  const [bus, unit] = ['bus', 'unit'].map(key => takeWord(options, key));
  if (bus === undefined && unit === undefined) return;
  if (options['index'] !== undefined)
    throw new VmError('index= and bus=, unit= say the same: give one');
  const number = (name: string, word = '0') => {
    if (word !== '0' && word !== '1') throw new VmError(`${name}=${word}: if=ide has 0 and 1`);
    return Number(word);
  };
  const place = idePlaceOf({ bus: number('bus', bus), unit: number('unit', unit) });
  options['index'] = String(place);
}

/** `virtio-blk-pci,drive=disk0`, or the same as JSON. */
function parseDevice(items: readonly KeyValue[], ids: Ids): DeviceSpec {
  const { kind, id, own } = namedItems(items, 'driver');
  const type = deviceTypeNamed(kind);
  return {
    model: type.name,
    id: ids.claim('device', id ?? ids.fresh(type.name)),
    properties: fromWords(type.properties, own),
  };
}

/** `help`, or `MODEL,help`; undefined: no help was asked for. */
const deviceHelp = (text: string): string | undefined =>
  namedHelp(text, 'Available devices:', deviceHelped, name => deviceTypeNamed(name).name);

/** As -device takes it. */
export function deviceWithGlobals(
  text: string,
  ids: Ids,
  globals: readonly GlobalProperty[],
): DeviceSpec {
  const given = parseItems(text, 'driver');
  const has = (key: string) => given.some(item => item.key === key);
  const model = given.find(({ key }) => key === 'driver')?.value;
  const added = globals.filter(({ driver, property }) => driver === model && !has(property));
  for (const global of added) tryAlone(given, global);
  return parseDevice([...given, ...added.map(assignment)], ids);
}

const assignment = ({ property, value }: GlobalProperty): KeyValue => ({ key: property, value });

/** A mistake in it is the -global's, not the -device's. */
function tryAlone(given: readonly KeyValue[], global: GlobalProperty): void {
  parseDevice(given, new Ids());
  try {
    parseDevice([...given, assignment(global)], new Ids());
  } catch (error) {
    const { message, options } = asVmError(error);
    throw new UsageError(`${global.spelled}: ${message}`, { hint: options.hint });
  }
}
