/** The host of a VM that runs in a test's own process: the real ports, and nobody at a terminal. */
import { addonAccelerators } from '../../src/accel/accelerators.js';
import { nodeHost } from '../../src/host/node/host.js';
import type { VmHost } from '../../src/vm/host.js';

const stdio = {
  terminal: undefined,
  setMode: () => undefined,
  interrupt: () => undefined,
  write: () => true,
  onDrain: () => undefined,
  onData: () => undefined,
  onEnd: () => undefined,
  pause: () => undefined,
  resume: () => undefined,
};

export const testHost = (note: (line: string) => void = () => undefined): VmHost => ({
  ...nodeHost(),
  accelerators: addonAccelerators(false),
  stdio,
  process: {
    pid: process.pid,
    version: { major: 0, minor: 1, micro: 0, package: 'colo' },
    logInto: () => undefined,
  },
  note,
  step: () => undefined,
});
