/**
 * Where RAM lies and what the guest is told of it: below 3 GiB from 0, the rest from 4 GiB, as the
 * accel's slots are.
 */
export const MIB = 1024 * 1024;
const LOW_MAX = 3 * 1024 * MIB;
const HIGH_BASE = 4 * 1024 * MIB;

/**
 * Below 1 MiB: what the loader puts where. Kernels keep out of the extended BIOS data area and what
 * follows it.
 */
export const Low = {
  GDT: 0x500,
  ZERO_PAGE: 0x7000,
  STACK: 0x8ff0,
  PAGE_TABLES: 0x9000,
  SEED: 0x10000,
  COMMAND_LINE: 0x20000,
  EBDA: 0x9fc00,
  VIDEO: 0xa0000,
  ACPI: 0xe0000,
  SMBIOS: 0xf0000,
  TOP: 0x100000,
} as const;

export function ramLayout(bytes: number): { low: number; high: number } {
  const low = Math.min(bytes, LOW_MAX);
  return { low, high: bytes - low };
}

/** In order of their addresses. */
export function ramRanges(bytes: number): { base: number; length: number }[] {
  const { low, high } = ramLayout(bytes);
  return [{ base: 0, length: low }, ...(high > 0 ? [{ base: HIGH_BASE, length: high }] : [])];
}

const E820 = { RAM: 1, RESERVED: 2 } as const;
export interface E820Entry {
  base: number;
  length: number;
  type: number;
}

export function e820(bytes: number): E820Entry[] {
  const { low, high } = ramLayout(bytes);
  const map: E820Entry[] = [
    { base: 0, length: Low.EBDA, type: E820.RAM },
    { base: Low.EBDA, length: Low.VIDEO - Low.EBDA, type: E820.RESERVED },
    { base: Low.ACPI, length: Low.TOP - Low.ACPI, type: E820.RESERVED },
    { base: Low.TOP, length: low - Low.TOP, type: E820.RAM },
  ];
  if (high > 0) map.push({ base: HIGH_BASE, length: high, type: E820.RAM });
  return map;
}
