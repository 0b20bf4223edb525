/** Who answers a port or an MMIO access. */
export interface PioHandler {
  /** offset: from the start of the mapped range. */
  pioRead(offset: number, size: number): number;
  pioWrite(offset: number, size: number, value: number): void;
}
export interface MmioHandler {
  /**
   * Values up to 32 bits as numbers; an 8-byte access is split into two by the dispatcher unless
   * wide is true.
   */
  mmioRead(offset: number, size: number): number;
  mmioWrite(offset: number, size: number, value: number): void;
}
