/**
 * An exception of a device breaks that device only; the VM runs on. An assertion behind its wiring
 * (a disk, a netdev, the addon) is not the device's fault: it passes through, and stops the
 * process.
 */
import { AssertionError, isOurMistake } from '../base/errors.js';
import { allOnes } from '../base/unsigned.js';
import type { MmioHandler, PioHandler } from '../memory/contract.js';

export class OutsideError extends AssertionError {}

/**
 * Calls what is behind the wiring. An operation that fails throws as it is; a mistake is marked.
 */
export function outside<T>(call: () => T): T {
  try {
    return call();
  } catch (error) {
    throw fromOutside(error);
  }
}

/** For a hot path, which has a catch of its own. */
export function fromOutside(error: unknown): unknown {
  if (error instanceof OutsideError || !isOurMistake(error)) return error;
  return new OutsideError(error instanceof Error ? error.message : String(error), { cause: error });
}

/** The part of a device that its wiring needs. */
export interface Contained {
  /** It takes no part on the bus: all ones, as where there is no chip. */
  readonly silent: boolean;
  /** An exception of its own came out. */
  broke(thrown: unknown): void;
  /** fn, while the device is whole. */
  guarded<A extends unknown[]>(fn: (...args: A) => void): (...args: A) => void;
}

/** A device as the ports see it. Hot: no allocation. */
export class ContainedPorts implements PioHandler {
  constructor(
    private readonly device: Contained,
    private readonly inner: PioHandler,
  ) {}

  pioRead(offset: number, size: number): number {
    if (this.device.silent) return allOnes(size);
    try {
      return this.inner.pioRead(offset, size);
    } catch (error) {
      this.device.broke(error);
      return allOnes(size);
    }
  }

  pioWrite(offset: number, size: number, value: number): void {
    if (this.device.silent) return;
    try {
      this.inner.pioWrite(offset, size, value);
    } catch (error) {
      this.device.broke(error);
    }
  }
}

/** A device as memory accesses see it. Hot: no allocation. */
export class ContainedMmio implements MmioHandler {
  constructor(
    private readonly device: Contained,
    private readonly inner: MmioHandler,
  ) {}

  mmioRead(offset: number, size: number): number {
    if (this.device.silent) return allOnes(size);
    try {
      return this.inner.mmioRead(offset, size);
    } catch (error) {
      this.device.broke(error);
      return allOnes(size);
    }
  }

  mmioWrite(offset: number, size: number, value: number): void {
    if (this.device.silent) return;
    try {
      this.inner.mmioWrite(offset, size, value);
    } catch (error) {
      this.device.broke(error);
    }
  }
}
