/**
 * `-global migration.NAME=VALUE`: what migrate-set-capabilities and -parameters would say, before
 * the guest runs.
 */
import { needSwitch } from '../../words/scalars.js';
import { asVmError, VmError } from '../../base/errors.js';
import { didYouMean } from '../../base/similar.js';
import { capabilityNames } from '../../colo/colo.js';
import { parameterNames, parameterTypes, setParameters } from '../../monitor/parameters.js';
import type { Vm } from '../../vm/vm.js';
import { UsageError } from '../options/argv.js';
import type { GlobalProperty } from '../options/globals.js';

export function setMigrationGlobals(vm: Vm, globals: readonly GlobalProperty[]): void {
  for (const global of globals) {
    try {
      set(vm, global);
    } catch (error) {
      const { message, options } = asVmError(error);
      throw new UsageError(`${global.spelled}: ${message}`, { hint: options.hint, cause: error });
    }
  }
}

function set(vm: Vm, { property, value }: GlobalProperty): void {
  const capability = capabilityNames.find(name => name === property);
  if (capability) return vm.colo.setCapability(capability, needSwitch(value, 'it'));
  const all = [...capabilityNames, ...parameterNames];
  if (!parameterNames.includes(property))
    throw new VmError(`migration has no '${property}'.${didYouMean(property, all)}`, {
      hint: `It has ${all.join(', ')}.`,
    });
  const type = parameterTypes[property];
  const given = type.fromWord(value);
  if (given === undefined) throw new VmError(`'${value}' is not ${type.summary}`);
  setParameters(vm, { [property]: type.check(given, property) });
}
