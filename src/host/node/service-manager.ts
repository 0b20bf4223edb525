/** The service manager that started this process, by the environment it gave: sd_notify(3). */
import { VmError } from '../../base/errors.js';
import type { ServiceManager } from '../ports.js';
import { hostModule } from './addon.js';
import { systemError } from './errors.js';

type Env = Record<string, string | undefined>;

/**
 * undefined: none did. Its variables are taken out of the environment: they are not for the
 * processes that this one starts, which outlive it.
 */
export function serviceManager(
  env: Env = process.env,
  pid = process.pid,
): ServiceManager | undefined {
  const { NOTIFY_SOCKET: socket, WATCHDOG_USEC: usec, WATCHDOG_PID: watched } = env;
  for (const name of ['NOTIFY_SOCKET', 'WATCHDOG_USEC', 'WATCHDOG_PID']) delete env[name];
  if (socket === undefined || socket === '') return undefined;
  const mine = watched === undefined || Number(watched) === pid;
  const watchdogMs = Number(usec) / 1000;
  return {
    watchdogMs: mine && watchdogMs > 0 && watchdogMs < Infinity ? watchdogMs : undefined,
    notify(lines) {
      if (!/^[/@]./.test(socket))
        throw new VmError(`NOTIFY_SOCKET '${socket}' is neither a path nor an abstract name`);
      try {
        hostModule().sendDatagram(socket, lines);
      } catch (error) {
        throw systemError(`Could not tell the service manager at '${socket}'`, error);
      }
    },
  };
}
