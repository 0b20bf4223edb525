/**
 * `-global migration.NAME=VALUE`: what migrate-set-capabilities and -parameters would say, before
 * the guest runs.
 */
import { asVmError, VmError } from '../../base/errors.js';
import { didYouMean } from '../../base/similar.js';
import { registryFor } from '../../monitor/commands/all.js';
import type { VmControl } from '../../monitor/vm.js';
import { UsageError } from '../options/argv.js';
import type { GlobalProperty } from '../options/globals.js';

export async function setMigrationGlobals(
  control: VmControl,
  globals: readonly GlobalProperty[],
): Promise<void> {
  for (const global of globals) {
    try {
      await set(control, global);
    } catch (error) {
      const { message, options } = asVmError(error);
      throw new UsageError(`${global.spelled}: ${message}`, { hint: options.hint, cause: error });
    }
  }
}

async function set(control: VmControl, { property, value }: GlobalProperty): Promise<void> {
  const { migration } = control;
  const capabilities = migration?.capabilities().map(({ capability }) => capability) ?? [];
  const parameters = Object.keys(migration?.parameters() ?? {});
  if (capabilities.includes(property))
    return migration?.setCapabilities([{ capability: property, state: onOrOff(value) }]);
  if (!parameters.includes(property))
    throw new VmError(
      `migration has no '${property}'.${didYouMean(property, [...capabilities, ...parameters])}`,
      { hint: `It has ${[...capabilities, ...parameters].join(', ')}.` },
    );
  const registry = registryFor(control);
  const command = registry.qmp('migrate-set-parameters');
  const type = command.args[property];
  const given = type.fromWord(value);
  if (given === undefined) throw new VmError(`'${value}' is not ${type.summary}`);
  await command.runQmp(
    control,
    { [property]: given },
    { registry, hmp: () => Promise.resolve(''), mayWait: false },
  );
}

function onOrOff(value: string): boolean {
  if (['on', 'yes', 'true'].includes(value)) return true;
  if (['off', 'no', 'false'].includes(value)) return false;
  throw new VmError(`it is on or off, not '${value}'`);
}
