/** What the controls of a machine are made of. */
import type { BlockLayer } from '../../block/layer/layer.js';
import type { Colo } from '../../colo/colo.js';
import type { Clock } from '../../host/ports.js';
import type { MachineControl } from '../../machine/contract.js';
import type { Netdev } from '../../net/contract.js';
import type {
  ChardevControl,
  NetworkControl,
  ObjectControl,
  TraceControl,
  VmControl,
} from '../vm.js';

export interface ControlParts {
  readonly machine: MachineControl;
  readonly block: BlockLayer;
  readonly colo: Colo;
  readonly network: Pick<NetworkControl, 'add' | 'del' | 'announce'> & {
    readonly netdevs: readonly Netdev[];
  };
  readonly chardevs: ChardevControl;
  readonly objects: ObjectControl;
  readonly traces: TraceControl;
  readonly clock: Clock;
  /** A line for people. */
  report(line: string): void;
  /** They go into this file from now on. */
  logInto(path: string): void;
  readonly kvmPresent: boolean;
  readonly pid: number;
  /** Host threads of the vCPUs, by index. */
  vcpuThreads(): readonly number[];
  readonly version: VmControl['version'];
}
