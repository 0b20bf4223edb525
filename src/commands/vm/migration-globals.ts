/**
 * `-global migration.NAME=VALUE`: what migrate-set-capabilities and -parameters would say, before
 * the guest runs.
 */
import { needSwitch } from '../../words/scalars.js';
import { asVmError, VmError } from '../../base/errors.js';
import { didYouMean } from '../../base/similar.js';
import { capabilityNames } from '../../colo/controller.js';
import { parameterNames, parameterTypes, setParameters } from '../../monitor/parameters.js';
import type { Vm } from '../../vm/vm.js';
import { UsageError } from '../options/argv.js';
import type { GlobalProperty } from '../options/draft.js';

export function setMigrationGlobals(vm: Vm, globals: readonly GlobalProperty[]): void {
  const changes: Record<string, unknown> = {};
  for (const global of globals) refusedAs(global, () => take(vm, global, changes));
  // Together, since some are checked against others.
  const of = (message: string) => globals.find(({ property }) => message.startsWith(property));
  try {
    setParameters(vm, changes);
  } catch (error) {
    refusedAs(of(asVmError(error).message) ?? globals.at(-1)!, () => {
      throw error;
    });
  }
}

function refusedAs({ spelled }: GlobalProperty, set: () => void): void {
  try {
    set();
  } catch (error) {
    const { message, options } = asVmError(error);
    throw new UsageError(`${spelled}: ${message}`, { hint: options.hint, cause: error });
  }
}

function take(vm: Vm, { property, value }: GlobalProperty, changes: Record<string, unknown>): void {
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
  changes[property] = type.check(given, property);
}
