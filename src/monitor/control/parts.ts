/** What the controls of a machine are made of. */
import type { BlockLayer } from '../../block/layer.js';
import type { CharBackend } from '../../chardev/contract.js';
import type { Colo } from '../../colo/colo.js';
import type { Clock } from '../../host/ports.js';
import type { MachineControl } from '../../machine/contract.js';
import type { Netdev } from '../../net/contract.js';
import type { TraceControl, VmControl } from '../vm.js';

export interface ControlParts {
  readonly machine: MachineControl;
  readonly block: BlockLayer;
  readonly colo: Colo;
  netdevs(): readonly Netdev[];
  readonly chardevs: ReadonlyMap<string, CharBackend>;
  readonly traces: TraceControl;
  readonly clock: Clock;
  /** A line for people. */
  report(line: string): void;
  readonly kvmPresent: boolean;
  readonly pid: number;
  /** Host threads of the vCPUs, by index. */
  vcpuThreads(): readonly number[];
  readonly version: VmControl['version'];
}
