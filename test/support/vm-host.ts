/** The host of a VM that runs in a test's own process: the real ports, and nobody at a terminal. */
import { addonAccelerators } from '../../src/accel/accelerators.js';
import { nodeHost } from '../../src/host/node/host.js';
import { defaultLimits, type VmHost } from '../../src/vm/host.js';
import { noTerminal } from './sim/host.js';

export const testHost = (note: (line: string) => void = () => undefined): VmHost => ({
  ...nodeHost(),
  accelerators: addonAccelerators(false),
  stdio: noTerminal,
  process: {
    pid: process.pid,
    version: { major: 0, minor: 1, micro: 0, package: 'colo' },
    logInto: () => undefined,
  },
  note,
  limits: defaultLimits,
  step: () => undefined,
});
