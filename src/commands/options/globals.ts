/**
 * `-global DRIVER.PROP=VALUE`: a default for every -device of that driver, or a migration setting.
 * What reaches nothing is refused.
 */
import { asVmError, VmError } from '../../base/errors.js';
import type { DeviceSpec, MachineSpec } from '../../machine/spec.js';
import { deviceTypes } from '../../hw/device-types.js';
import { didYouMean } from '../../base/similar.js';
import { type GivenOption, UsageError } from './argv.js';
import { Ids, parseDevice } from './device.js';
import { ofGlobals } from './nothing.js';
import { type KeyValue, KeyValues, parseItems, parseKeyValues } from '../../words/key-values.js';
import { refuseMore } from '../../words/nothing.js';

export interface GlobalProperty {
  readonly driver: string;
  readonly property: string;
  readonly value: string;
  /** As it was written. */
  readonly spelled: string;
}

/** DRIVER.PROP=VALUE, or driver=D,property=P,value=V. undefined: it asks for nothing. */
export function parseGlobal({
  value: text,
  spelled,
}: Pick<GivenOption, 'value' | 'spelled'>): GlobalProperty | undefined {
  const { driver, property, value } = /^driver=/.test(text) ? longForm(text) : shortForm(text);
  const name = `${driver}.${property}`;
  if (Object.hasOwn(ofGlobals, name)) {
    refuseMore(name, value, ofGlobals[name]);
    return undefined;
  }
  const known = ['migration', ...deviceTypes.map(({ name }) => name)];
  if (!known.includes(driver))
    throw new VmError(
      `'${driver}' is not a device of colo; it has ` +
        `${known.join(', ')}.${didYouMean(driver, known)}`,
    );
  const ofOne = deviceTypes.flatMap(({ name, uses }) =>
    name === driver ? Object.values(uses) : [],
  );
  if (property === 'id' || ofOne.includes(property))
    throw new VmError(`'${property}' is of one device, not of all`, {
      hint: `Give it to that -device ${driver}.`,
    });
  return { driver, property, value, spelled };
}

function shortForm(text: string) {
  const match = /^([^.=]+)\.([^.=]+)=(.*)$/s.exec(text);
  if (!match)
    throw new VmError('not DRIVER.PROP=VALUE', {
      hint: 'Example: -global migration.x-checkpoint-delay=100',
    });
  return { driver: match[1], property: match[2], value: match[3] };
}

function longForm(text: string) {
  const options = new KeyValues(parseKeyValues(text));
  const parts = {
    driver: options.need('driver'),
    property: options.need('property'),
    value: options.need('value'),
  };
  options.done('driver, property, value');
  return parts;
}

/** The last one of a property counts. */
export function lastOfEach(globals: readonly GlobalProperty[]): GlobalProperty[] {
  return [
    ...new Map(globals.map(global => [`${global.driver}.${global.property}`, global])).values(),
  ];
}

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

/**
 * Devices that come with -drive if=virtio take no properties; a driver without a device has nobody
 * to give them to.
 */
export function checkGlobals(globals: readonly GlobalProperty[], spec: MachineSpec): void {
  for (const { driver, spelled } of globals) {
    if (driver === 'migration') continue;
    if (driver === 'virtio-blk-pci' && spec.drives.some(drive => drive.interface === 'virtio'))
      throw new UsageError(
        `${spelled}: it does not reach the device that comes with -drive if=virtio`,
        { hint: 'Use -drive if=none,id=ID,... and -device virtio-blk-pci,drive=ID.' },
      );
    if (!spec.devices.some(({ model }) => model === driver))
      throw new UsageError(`${spelled}: there is no -device ${driver} that it could be given to`);
  }
}
