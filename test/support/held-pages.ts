/** Page numbers of all RAM that holds memory: what is not among them is zeroes. */
import type { Ram } from '../../src/accel/contract.js';

export function heldPages(ram: Ram): Uint32Array {
  return Uint32Array.from(
    ram
      .populated()
      .flatMap(({ from, to }) => Array.from({ length: to - from }, (_, i) => from + i)),
  );
}
