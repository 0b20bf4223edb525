/**
 * How colo calls itself to a program. `qemu` names the QEMU whose QMP and HMP it speaks: clients
 * look there for what they may use. Its own version is the package.
 */
import type { Version } from '../vm/host.js';

const dialect = { major: 7, minor: 2, micro: 0 } as const;

export function versionInfo({ major, minor, micro, package: name }: Version) {
  return { qemu: { ...dialect }, package: `${name} ${major}.${minor}.${micro}` };
}
