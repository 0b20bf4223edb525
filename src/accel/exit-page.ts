/**
 * One device access, in memory shared with the vCPU (struct ExitPage in native/vcpu/exits.h). Hot
 * path: no allocation here.
 */
import type { ExitHandler } from './contract.js';

const ExitKind = { PIO_READ: 1, PIO_WRITE: 2, MMIO_READ: 3, MMIO_WRITE: 4 } as const;

export class ExitPage {
  private readonly words: Uint32Array; // 0: kind, 1: size, 4: data, low half
  private readonly doubles: Float64Array; // 1: address
  private readonly quads: BigUint64Array; // 2: data

  constructor(page: ArrayBuffer) {
    this.words = new Uint32Array(page);
    this.doubles = new Float64Array(page);
    this.quads = new BigUint64Array(page);
  }

  /** Has the handler answer the access; the answer goes into the page. */
  answer(handler: ExitHandler): void {
    const size = this.words[1];
    const address = this.doubles[1];
    switch (this.words[0]) {
      case ExitKind.PIO_READ:
        this.words[4] = handler.pioRead(address, size);
        break;
      case ExitKind.PIO_WRITE:
        handler.pioWrite(address, size, this.words[4]);
        break;
      case ExitKind.MMIO_READ:
        this.quads[2] = handler.mmioRead(address, size);
        break;
      case ExitKind.MMIO_WRITE:
        handler.mmioWrite(address, size, this.quads[2]);
        break;
    }
  }
}
