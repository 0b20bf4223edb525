/** What running and standing still need of the machine (lifecycle.ts). */
import type { Events } from '../base/events.js';
import type { Manifest } from '../colo/contract.js';
import type { AcpiPm } from '../hw/acpi/pm.js';
import type { DeviceSet } from '../hw/device-set.js';
import type { QmpEvents } from '../qapi/types.js';
import type { ExecutionPorts } from './execution.js';
import type { MachineState } from './run-state.js';

export type ShutdownReason = 'guest-shutdown' | 'guest-reset';

export interface LifecyclePorts extends ExecutionPorts {
  readonly board: { readonly devices: DeviceSet; readonly pm: Pick<AcpiPm, 'pressPowerButton'> };
  readonly events: Events<QmpEvents>;
  readonly initial: MachineState;
  /** -S: what comes by migration stays stopped. */
  readonly startPaused: boolean;
  manifest(): Manifest;
  /** Power cycle: chips, devices, RAM. Called with everything stopped. */
  powerCycle(): void;
  /** The machine is over, unless the user keeps it (-no-shutdown). */
  shutdown(reason: ShutdownReason): void;
  /**
   * Announces the guest on the network: after a failover, or when it runs here after a migration.
   */
  announce(): void;
  readonly noReboot: boolean;
  /** There is a kernel to boot again. A secondary may have been started without. */
  readonly bootable: boolean;
  report(line: string): void;
}
