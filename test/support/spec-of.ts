/** A machine's spec from a command line, checked as `colo primary` and `colo secondary` do. */
import { parseLaunch, type Role } from '../../src/commands/options/spec.js';
import type { CheckedSpec } from '../../src/machine/check-spec.js';

export const specOf = (role: Role, argv: readonly string[]): CheckedSpec =>
  parseLaunch(role, argv).spec;
