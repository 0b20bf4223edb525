/**
 * `-global DRIVER.PROP=VALUE`: a default for every -device of that driver, or a migration setting.
 * What reaches nothing is refused.
 */
import { VmError } from '../../base/errors.js';
import { didYouMean } from '../../base/similar.js';
import { deviceTypes } from '../../hw/device-types.js';
import { impliedModel } from '../../machine/implied-devices.js';
import type { MachineSpec } from '../../machine/spec.js';
import { fromWords } from '../../words/from-words.js';
import { parseKeyValues } from '../../words/key-values.js';
import { refuseMore } from '../../words/nothing.js';
import { str } from '../../words/types.js';
import { type GivenOption, UsageError } from './argv.js';
import type { GlobalProperty } from './draft.js';
import { ofGlobals } from './nothing.js';
import type { VmOption } from './option.js';

const ofDriver = {
  driver: str('a -device, or migration'),
  property: str('of that device'),
  value: str('for those that do not give it'),
};

export const globalOption: VmOption = {
  name: 'global',
  value: 'DRIVER.PROP=VALUE',
  repeatable: true,
  summary:
    'a property of every -device DRIVER that does not give it; or migration.NAME=VALUE, a ' +
    'capability or parameter',
  early: true,
  take(draft, _value, given) {
    const property = parseGlobal(given);
    if (property) draft.globals = lastOfEach([...draft.globals, property]);
  },
};

/** DRIVER.PROP=VALUE, or driver=D,property=P,value=V. undefined: it asks for nothing. */
function parseGlobal({
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

const longForm = (text: string) => fromWords(ofDriver, parseKeyValues(text));

/** The last one of a property counts. */
function lastOfEach(globals: readonly GlobalProperty[]): GlobalProperty[] {
  return [
    ...new Map(globals.map(global => [`${global.driver}.${global.property}`, global])).values(),
  ];
}

/**
 * Devices that come with -drive if=virtio take no properties; a driver without a device has nobody
 * to give them to.
 */
export function checkGlobals(globals: readonly GlobalProperty[], spec: MachineSpec): void {
  for (const { driver, spelled } of globals) {
    if (driver === 'migration') continue;
    const comes = spec.drives.find(drive => impliedModel(drive) === driver);
    if (comes)
      throw new UsageError(
        `${spelled}: it does not reach the device that comes with -drive if=${comes.interface}`,
        { hint: `Use -drive if=none,id=ID,... and -device ${driver},drive=ID.` },
      );
    if (!spec.devices.some(({ model }) => model === driver))
      throw new UsageError(`${spelled}: there is no -device ${driver} that it could be given to`);
  }
}
