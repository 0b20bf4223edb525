/** The 64 Ki I/O ports of a PC and who answers each. */
import { assert } from '../base/errors.js';
import type { Disposable } from '../base/disposable.js';
import { event, tracer } from '../base/trace.js';
import { lowBytes, or32 } from '../base/unsigned.js';
import type { PioHandler } from './contract.js';

const trace = tracer('ioport', {
  unmapped_read: event<{ port: number }>(),
  unmapped_write: event<{ port: number; value: number }>(),
});
const PORTS = 0x10000;

interface Range {
  base: number;
  length: number;
  handler: PioHandler;
  maxSize: number;
  name: string;
}

export class IoPorts {
  /** Port -> index in ranges, 0: no device. */
  private readonly owner = new Uint8Array(PORTS);
  private readonly ranges: (Range | undefined)[] = [undefined];

  /**
   * maxSize: the widest access that the chip takes; wider ones become several. Overlap is our
   * mistake.
   */
  map(
    name: string,
    base: number,
    length: number,
    handler: PioHandler,
    maxSize: 1 | 2 | 4 = 1,
  ): Disposable {
    const mapped = this.tryMap(name, base, length, handler, maxSize);
    assert(mapped, `I/O ports 0x${base.toString(16)}+${length} of ${name} are free`);
    return mapped;
  }

  /** The same for ranges that the guest places: undefined if any port is taken or out of space. */
  tryMap(
    name: string,
    base: number,
    length: number,
    handler: PioHandler,
    maxSize: 1 | 2 | 4 = 1,
  ): Disposable | undefined {
    if (base < 0 || length <= 0 || base + length > PORTS) return undefined;
    for (let port = base; port < base + length; port++)
      if (this.owner[port] !== 0) return undefined;
    let index = this.ranges.indexOf(undefined, 1);
    if (index < 0) index = this.ranges.length;
    assert(index < 256, 'at most 255 port ranges');
    const range: Range = { base, length, handler, maxSize, name };
    this.ranges[index] = range;
    this.owner.fill(index, base, base + length);
    return {
      dispose: () => {
        if (this.ranges[index] !== range) return;
        this.ranges[index] = undefined;
        this.owner.fill(0, base, base + length);
      },
    };
  }

  /** Hot: no allocation. Size 1, 2 or 4. */
  read(port: number, size: number): number {
    const range = this.ranges[this.owner[port]];
    if (range !== undefined && size <= range.maxSize && port + size <= range.base + range.length) {
      return lowBytes(range.handler.pioRead(port - range.base, size), size);
    }
    if (size > 1) return this.readBytes(port, size);
    if (range !== undefined) return range.handler.pioRead(port - range.base, 1) & 0xff;
    trace.unmapped_read?.({ port });
    return 0xff;
  }

  write(port: number, size: number, value: number): void {
    const range = this.ranges[this.owner[port]];
    if (range !== undefined && size <= range.maxSize && port + size <= range.base + range.length) {
      range.handler.pioWrite(port - range.base, size, lowBytes(value, size));
    } else if (size > 1) {
      this.writeBytes(port, size, value);
    } else {
      trace.unmapped_write?.({ port, value });
    }
  }

  /** What is mapped, by address. */
  list(): { name: string; base: number; length: number }[] {
    const live = this.ranges.filter(range => range !== undefined);
    return live
      .map(({ name, base, length }) => ({ name, base, length }))
      .sort((a, b) => a.base - b.base);
  }

  /** Halves, so that a dword over a 2-byte chip becomes two words. */
  private readBytes(port: number, size: number): number {
    const half = size >> 1;
    const low = this.read(port, half);
    const high = this.read((port + half) & 0xffff, half);
    return or32(low, high << (8 * half));
  }

  private writeBytes(port: number, size: number, value: number): void {
    const half = size >> 1;
    this.write(port, half, value);
    this.write((port + half) & 0xffff, half, value >>> (8 * half));
  }
}
