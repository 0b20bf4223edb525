/**
 * Whether vCPUs and devices physically run, whatever the run state says. Stopping is asynchronous
 * and idempotent; nothing starts before a stop under way is complete.
 */
import type { VmAccel } from '../accel/contract.js';
import { assert, VmError } from '../base/errors.js';
import type { Clock } from '../host/ports.js';
import type { DeviceSet } from '../hw/device-set.js';

export const STOP_LIMIT_MS = 10_000;
/** A pause that no watchdog of a guest notices. */
const UNNOTICED_MS = 1000;

export interface ExecutionPorts {
  readonly accel: VmAccel;
  readonly board: { readonly devices: DeviceSet };
  readonly clock: Clock;
  /** A disk or a vCPU that does not stop within this time has the checkpoint fail, not the VM. */
  readonly stopLimitMs?: number;
}

export class Execution {
  /** The guest has run no instruction since the machine was built. */
  pristine = true;
  private stage: 'stopped' | 'running' | 'stopping' = 'stopped';
  private halting: Promise<void> = Promise.resolve();
  /** When the vCPUs came to a halt. Undefined for a guest that stopped on another host. */
  private heldSinceMs: number | undefined;

  constructor(private readonly ports: ExecutionPorts) {}

  get running(): boolean {
    return this.stage === 'running';
  }

  get stopped(): boolean {
    return this.stage === 'stopped';
  }

  /** A stop under way is complete. */
  async settled(): Promise<void> {
    if (this.stage === 'stopping') await this.halting;
  }

  /** vCPUs first, then devices: what a vCPU started while stopping is drained too. */
  halt(): Promise<void> {
    if (this.stage === 'running') {
      this.stage = 'stopping';
      this.halting = this.haltNow();
    }
    return this.halting;
  }

  /** Throws a VmError when the stop takes too long; the stop itself continues in the background. */
  async haltWithin(): Promise<void> {
    const limitMs = this.ports.stopLimitMs ?? STOP_LIMIT_MS;
    let timer: { dispose(): void } | undefined;
    const late = new Promise<'late'>(
      resolve => (timer = this.ports.clock.timer(limitMs, () => resolve('late'))),
    );
    const outcome = await Promise.race([this.halt(), late]);
    timer?.dispose();
    if (outcome !== 'late') return;
    const { notStopped } = this.ports.board.devices;
    throw new VmError(
      `did not stop within ${limitMs / 1000} s: ` +
        `${notStopped.length > 0 ? notStopped.join(', ') : 'the vCPUs'}`,
    );
  }

  start(): void {
    assert(this.stage === 'stopped', 'only what stands still can start');
    this.pristine = false;
    this.stage = 'running';
    this.ports.board.devices.resume();
    this.tellOfPause();
    this.ports.accel.start();
  }

  /** The state that is here now is another process's. */
  stateLoaded(): void {
    this.heldSinceMs = undefined;
  }

  private async haltNow(): Promise<void> {
    await this.ports.accel.stop();
    this.heldSinceMs = this.ports.clock.nowMs();
    await this.ports.board.devices.pause();
    this.stage = 'stopped';
  }

  /**
   * Watchdogs of the guest would take the pause for a lockup of its own, whoever made it: `stop`, a
   * failed disk, a snapshot, a migration, a failover, a checkpoint that a slow disk held up. None
   * notices less than a second, so an ordinary checkpoint writes nothing.
   */
  private tellOfPause(): void {
    const { accel, clock } = this.ports;
    const since = this.heldSinceMs;
    if (since === undefined || clock.nowMs() - since >= UNNOTICED_MS) accel.guestStopped();
  }
}
