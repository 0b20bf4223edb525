/**
 * Bit arithmetic on values of a guest, a peer or a file. JavaScript's operators give signed 32-bit
 * numbers, and Buffer's writers refuse a negative one: whatever is masked comes through here.
 */

/** The low bytes (1 to 4) of a value, as a number that is not negative. */
export function lowBytes(value: number, size: number): number {
  return size >= 4 ? value >>> 0 : value & (2 ** (8 * size) - 1);
}

/** What an empty bus answers. */
export const allOnes = (size: number): number => lowBytes(-1, size);

export const and32 = (value: number, mask: number): number => (value & mask) >>> 0;

export const or32 = (value: number, bits: number): number => (value | bits) >>> 0;

/** value without these bits. */
export const without32 = (value: number, bits: number): number => (value & ~bits) >>> 0;
