/**
 * What a vCPU's exit meets: ports and memory-mapped ranges. It has the shape of the accel's
 * ExitHandler; called on the main loop, one access at a time.
 */
import { IoPorts } from './io-ports.js';
import { MmioSpace } from './mmio-space.js';

export class SystemBus {
  readonly ports = new IoPorts();
  readonly mmio = new MmioSpace();

  pioRead(port: number, size: number): number {
    return this.ports.read(port, size);
  }

  pioWrite(port: number, size: number, value: number): void {
    this.ports.write(port, size, value);
  }

  /** An 8-byte access is two of 4, low half first, as on a 32-bit bus. */
  mmioRead(gpa: number, size: number): bigint {
    if (size !== 8) return BigInt(this.mmio.read(gpa, size));
    const low = this.mmio.read(gpa, 4);
    return BigInt(low) | (BigInt(this.mmio.read(gpa + 4, 4)) << 32n);
  }

  mmioWrite(gpa: number, size: number, value: bigint): void {
    const low = Number(BigInt.asUintN(32, value));
    if (size !== 8) return this.mmio.write(gpa, size, low);
    this.mmio.write(gpa, 4, low);
    this.mmio.write(gpa + 4, 4, Number(BigInt.asUintN(32, value >> 32n)));
  }
}
