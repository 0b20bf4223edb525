/**
 * What the monitor, the CLI and migration may ask of a built machine; machine/machine.ts satisfies
 * it.
 */
import type { Events } from '../base/events.js';
import type { VmAccel } from '../accel/contract.js';
import type { QmpEvents, RunState } from '../qapi/types.js';
import type { Lifecycle } from '../colo/contract.js';
import type { MachineSpec } from './spec.js';

/** A device as `info qtree` shows it. */
export interface DeviceInfo {
  id: string;
  /** `virtio-net-pci`, `isa-serial` ... */
  model: string;
  /** `pci.0 00:03.0`, `isa 0x3f8 irq 4` */
  where: string;
  /**
   * Names and values of its state, nested records flattened with dots; buffers in hex, at most 16
   * bytes.
   */
  properties: [string, string][];
}

export interface PciInfo {
  bus: number;
  slot: number;
  function: number;
  id: string;
  description: string;
  vendor: number;
  device: number;
  irqPin: number;
  irq: number;
  bars: { index: number; type: 'memory' | 'io'; address: number | undefined; size: number }[];
}

/** A device on a USB port. */
export interface UsbInfo {
  id: string;
  /** From 1. */
  port: number;
  /** 0: the guest has not set it up. */
  address: number;
  product: string;
}

export type ShutdownCause =
  'guest-shutdown' | 'guest-reset' | 'host-qmp-quit' | 'host-signal' | 'guest-panic';

/** The machine's verbs. Errors are VmError. */
export interface MachineControl {
  readonly spec: MachineSpec;
  readonly events: Events<QmpEvents>;
  readonly accel: VmAccel;
  readonly runState: RunState;
  readonly running: boolean;
  /** Emitted on every change, after it happened. */
  onRunState(fn: (state: RunState, previous: RunState) => void): { dispose(): void };
  /** What colo and migration drive. */
  readonly lifecycle: Lifecycle;

  /** First start: run, or stay `prelaunch` (-S) or `inmigrate` (-incoming). */
  start(): void;
  /** `cont`. VmError while a checkpoint is in progress, in inmigrate, and after a shutdown. */
  cont(): Promise<void>;
  /**
   * `stop`: resolves when nothing runs. While a checkpoint is in progress it is remembered and
   * honoured after it.
   */
  stop(): Promise<void>;
  /** `system_reset`: as if power had been cycled; the guest goes on if it ran. */
  reset(): Promise<void>;
  /** VmError: the network is not told that the guest is here, as before a takeover. */
  checkAnnounceable(): void;
  /** `system_powerdown`: the ACPI power button. */
  powerdown(): void;
  /**
   * Resolves once, when the machine is over (guest shutdown without -no-shutdown, quit,
   * debug-exit).
   */
  readonly ended: Promise<{ cause: ShutdownCause; status: number }>;
  /** `quit`, or a signal. */
  quit(cause: ShutdownCause): void;
  /** Stops everything and releases every resource. Idempotent. */
  dispose(): Promise<void>;

  /** Stops the guest while fn looks at it. The run state does not change and no event is sent. */
  whileStopped<T>(fn: () => T): Promise<T>;
  deviceInfo(): DeviceInfo[];
  pciInfo(): PciInfo[];
  usbInfo(): UsbInfo[];
}
