/**
 * MSI-X (PCI Local Bus 3.0, section 6.8.2): vector table and pending bits in one BAR, enable and
 * mask bits in the capability.
 */
import { and32 } from '../../base/unsigned.js';
import { bytes, type Field, record } from '../../fields/field.js';
import type { MmioHandler } from '../../memory/contract.js';
import type { VmAccel } from '../../accel/contract.js';
import { fromOutside } from '../contain.js';
import { CAPABILITY_ID, type ConfigLayout } from './config-space.js';

const ENTRY = 16;
const PBA_OFFSET = 0x800;
export const MSIX_BAR_SIZE = 0x1000;
export const NO_VECTOR = 0xffff;
const MAX_VECTORS = 64;
const Control = { ENABLE: 0x8000, MASK_ALL: 0x4000 } as const;
const ENTRY_MASKED = 0x01;

export interface MsixState {
  table: Buffer;
  pending: Buffer;
}
/** Part of a function's state. Vectors are masked after a reset. */
export function msixField(vectors: number): Field<MsixState> {
  const layout = record({ table: bytes(vectors * ENTRY), pending: bytes(MAX_VECTORS / 8) });
  return {
    ...layout,
    reset() {
      const state = layout.reset();
      for (let i = 0; i < vectors; i++) state.table[i * ENTRY + 12] = ENTRY_MASKED;
      return state;
    },
  };
}

export class Msix implements MmioHandler {
  private readonly capability: number;

  constructor(
    readonly vectors: number,
    layout: ConfigLayout,
    bar: number,
    /** The function's live state and configuration space. */
    private readonly live: () => { msix: MsixState; config: Buffer },
    private readonly accel: Pick<VmAccel, 'signalMsi'>,
  ) {
    const body = Buffer.alloc(10);
    body.writeUInt16LE(vectors - 1, 0);
    body.writeUInt32LE(bar, 2);
    body.writeUInt32LE(PBA_OFFSET + bar, 6);
    const mask = Buffer.alloc(10);
    mask.writeUInt16LE(Control.ENABLE + Control.MASK_ALL, 0);
    this.capability = layout.capability(CAPABILITY_ID.MSIX, body, mask);
    layout.memoryBar(bar, MSIX_BAR_SIZE);
  }

  get enabled(): boolean {
    return (this.control & Control.ENABLE) !== 0;
  }

  /** Sends the vector's message, or keeps it pending while masked. Precondition: enabled. */
  notify(vector: number): void {
    if (vector >= this.vectors) return;
    const { msix } = this.live();
    if (this.masked(vector)) {
      msix.pending[vector >> 3] |= 1 << (vector & 7);
      return;
    }
    const at = vector * ENTRY;
    const address =
      BigInt(msix.table.readUInt32LE(at)) | (BigInt(msix.table.readUInt32LE(at + 4)) << 32n);
    const data = msix.table.readUInt32LE(at + 8);
    try {
      this.accel.signalMsi(address, data);
    } catch (error) {
      throw fromOutside(error);
    }
  }

  /**
   * The capability's control word, or an entry's mask, may have changed: what was pending and is
   * free now is sent.
   */
  unmask(): void {
    if (!this.enabled) return;
    const { pending } = this.live().msix;
    for (let vector = 0; vector < this.vectors; vector++) {
      const bit = 1 << (vector & 7);
      if ((pending[vector >> 3] & bit) === 0 || this.masked(vector)) continue;
      pending[vector >> 3] &= ~bit;
      this.notify(vector);
    }
  }

  mmioRead(offset: number, size: number): number {
    const { table, pending } = this.live().msix;
    if (offset + size <= table.length) return table.readUIntLE(offset, size);
    if (offset >= PBA_OFFSET && offset + size <= PBA_OFFSET + pending.length)
      return pending.readUIntLE(offset - PBA_OFFSET, size);
    return 0;
  }

  /** The standard allows aligned dwords only; others are ignored. */
  mmioWrite(offset: number, size: number, value: number): void {
    const { table } = this.live().msix;
    if (size !== 4 || offset % 4 !== 0 || offset + 4 > table.length) return;
    const field = offset % ENTRY;
    table.writeUInt32LE(and32(value, field === 0 ? ~3 : field === 12 ? ENTRY_MASKED : -1), offset);
    if (field === 12) this.unmask();
  }

  private get control(): number {
    return this.live().config.readUInt16LE(this.capability + 2);
  }

  private masked(vector: number): boolean {
    return (
      (this.control & Control.MASK_ALL) !== 0 ||
      (this.live().msix.table[vector * ENTRY + 12] & ENTRY_MASKED) !== 0
    );
  }
}
