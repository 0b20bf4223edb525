/** A machine's spec from a command line, checked as `colo primary` and `colo secondary` do. */
import { checkUsage } from '../../src/commands/options/check.js';
import { parseLaunch, type Role } from '../../src/commands/options/spec.js';
import type { MachineSpec } from '../../src/machine/spec.js';

export function specOf(role: Role, argv: readonly string[]): MachineSpec {
  const { spec } = parseLaunch(role, argv);
  checkUsage(spec);
  return spec;
}
