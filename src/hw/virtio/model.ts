/**
 * What a virtio device type is to its transport, and the other way round. The model knows rings and
 * its own configuration, no PCI.
 */
import { assert } from '../../base/errors.js';
import type { GuestMemory } from '../../accel/contract.js';
import type { Field } from '../../fields/field.js';
import type { Virtqueue } from './virtqueue.js';

/** Feature bits of the ring and the transport (virtio 1.1, chapter 6). */
export const VirtioFeature = { INDIRECT_DESC: 28, EVENT_IDX: 29, VERSION_1: 32 } as const;

export interface VirtioHost<S> {
  readonly ram: GuestMemory;
  readonly queues: readonly Virtqueue[];
  /** The model's part of the device's live state. */
  readonly modelState: S;
  /** The driver is ready, the VM runs, nothing is broken: rings may be touched. */
  readonly running: boolean;
  has(feature: number): boolean;
  /** Buffers were returned: interrupt if the driver wants one. */
  returned(queue: Virtqueue): void;
  /** pop() found nothing: if the queue broke, the device needs a reset. */
  checkFault(queue: Virtqueue): void;
  /** The driver broke the device's own protocol. */
  fail(why: string): void;
  configChanged(): void;
  /**
   * Later on the main loop, behind what else it has to do. Not called while the device is broken.
   */
  soon(fn: () => void): { dispose(): void };
  /** For callbacks of the world: an exception breaks the device, and only it. */
  guarded<A extends unknown[]>(fn: (...args: A) => void): (...args: A) => void;
  contain<R>(fn: () => R, otherwise: R): R;
  broke(thrown: unknown): void;
}

export abstract class VirtioModel<S = unknown> {
  /** `virtio-blk` */
  abstract readonly name: string;
  abstract readonly deviceId: number;
  abstract readonly classCode: number;
  abstract readonly queueCount: number;
  abstract readonly features: readonly number[];
  abstract readonly stateField: Field<S>;
  /** Of the device's whole state; grows with stateField. */
  readonly stateVersion: number = 1;
  private connected: VirtioHost<S> | undefined;

  connect(host: VirtioHost<S>): void {
    this.connected = host;
  }

  protected get isConnected(): boolean {
    return this.connected !== undefined;
  }

  protected get host(): VirtioHost<S> {
    assert(this.connected, `${this.name} has a transport`);
    return this.connected;
  }

  protected get state(): S {
    return this.host.modelState;
  }

  /** Device configuration as the driver reads it now. */
  abstract readConfig(): Buffer;
  /** The driver has rung, or should be looked at. Only while host.running. */
  abstract handleQueue(queue: Virtqueue): void;
  writeConfig(_offset: number, _size: number, _value: number): void {}
  /** Device reset: requests in flight no longer belong to anybody. */
  deviceReset(): void {}
  /** Requests whose backend has not answered. */
  get inFlight(): number {
    return 0;
  }
  /** Resolves when nothing is in flight and nothing will touch RAM. */
  async pause(): Promise<void> {}
  resume(): void {}
}
