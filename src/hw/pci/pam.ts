/**
 * What the i440FX makes of memory below 1 MiB (Intel 82441FX data sheet, section 3.2.12: the PAM
 * registers), and where firmware lies. A segment has two bits: reads are from RAM, writes go to
 * RAM; what does not, goes to PCI, and from 0xe0000 on PCI is the firmware's ROM. The display's
 * window, 0xa0000 to 0xbffff, is never RAM to a CPU.
 */
import type { Mapping } from '../../accel/contract.js';

/** First PAM register in configuration space, and how many there are. */
export const PAM = { AT: 0x59, COUNT: 7 } as const;
export const Pam = { READ: 1, WRITE: 2 } as const;
/** The bits of each register that exist. */
export const PAM_WRITABLE = [0x30, 0x33, 0x33, 0x33, 0x33, 0x33, 0x33] as const;
/** All of it is RAM. */
export const PAM_ALL_RAM = PAM_WRITABLE;

/** What PAM rules. */
export const SHADOW = { first: 0xc0000, last: 0xfffff } as const;
const SEGMENT = 0x4000;
const BIOS = 0xf0000;
const VIDEO = 0xa0000;
const MIB = 0x100000;
const LOW_MAX = 0xc000_0000;
const FOUR_GIB = 2 ** 32;
/** The end of the ROM shows itself below 1 MiB too. */
const ROM_BELOW = 0x20000;

/** The bits of the segment that an address in SHADOW lies in. pam: the seven registers. */
export function pamOf(pam: Uint8Array, gpa: number): number {
  if (gpa >= BIOS) return (pam[0] >> 4) & 3;
  const index = (gpa - SHADOW.first) >> 14;
  return (pam[1 + (index >> 1)] >> (4 * (index & 1))) & 3;
}

/** ramBytes, then romBytes: what there is of memory, in this order. */
export function memoryMap(pam: Uint8Array, ramBytes: number, romBytes: number): Mapping[] {
  const low = Math.min(ramBytes, LOW_MAX);
  const map: Mapping[] = [{ gpa: 0, size: VIDEO, offset: 0, readOnly: false }];
  if (low > MIB) map.unshift({ gpa: MIB, size: low - MIB, offset: MIB, readOnly: false });
  if (ramBytes > low)
    map.push({ gpa: FOUR_GIB, size: ramBytes - low, offset: low, readOnly: false });
  if (romBytes > 0)
    map.push({ gpa: FOUR_GIB - romBytes, size: romBytes, offset: ramBytes, readOnly: true });
  for (let gpa: number = SHADOW.first; gpa < MIB; gpa += gpa < BIOS ? SEGMENT : MIB - BIOS) {
    const size = gpa < BIOS ? SEGMENT : MIB - BIOS;
    const bits = pamOf(pam, gpa);
    const fromRom = romBytes - (MIB - gpa);
    if ((bits & Pam.READ) !== 0)
      join(map, { gpa, size, offset: gpa, readOnly: (bits & Pam.WRITE) === 0 });
    else if (gpa >= MIB - ROM_BELOW && fromRom >= 0)
      join(map, { gpa, size, offset: ramBytes + fromRom, readOnly: true });
  }
  return map;
}

/** A segment that goes on where the last one ends is one range with it. */
function join(map: Mapping[], next: Mapping): void {
  const last = map[map.length - 1];
  const goesOn =
    last.gpa >= SHADOW.first &&
    last.gpa + last.size === next.gpa &&
    last.offset + last.size === next.offset &&
    last.readOnly === next.readOnly;
  if (goesOn) last.size += next.size;
  else map.push(next);
}
