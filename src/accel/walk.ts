/**
 * From a virtual to a physical address as the MMU would find it (Intel SDM vol. 3, chapter 4), for
 * a debugger: reads tables, marks nothing.
 */
import { and32 } from '../base/unsigned.js';
import type { GuestMemory } from './contract.js';
import type { VcpuImage } from './vcpu-image.js';

const PG = 1n << 31n;
const PAE = 1n << 5n;
const LMA = 1n << 10n;
const PRESENT = 1n;
const LARGE = 1n << 7n;
const ADDRESS = 0x000f_ffff_ffff_f000n;

/** undefined: not mapped. */
export function translate(ram: GuestMemory, cpu: VcpuImage, gva: bigint): bigint | undefined {
  if (!(cpu.control('cr0') & PG)) return gva & 0xffff_ffffn;
  const cr3 = cpu.control('cr3');
  if (cpu.control('efer') & LMA)
    return walk(ram, cr3 & ADDRESS, gva & 0xffff_ffff_ffffn, [39n, 30n, 21n, 12n]);
  if (cpu.control('cr4') & PAE)
    return walk(ram, cr3 & 0xffff_ffe0n, gva & 0xffff_ffffn, [30n, 21n, 12n]);
  return walkShort(ram, cr3 & 0xffff_f000n, gva & 0xffff_ffffn);
}

function walk(
  ram: GuestMemory,
  root: bigint,
  gva: bigint,
  shifts: readonly bigint[],
): bigint | undefined {
  let table = root;
  for (const shift of shifts) {
    const entry = ram.readU64(Number(table + ((gva >> shift) & 0x1ffn) * 8n));
    if (entry === undefined || !(entry & PRESENT)) return undefined;
    const offset = (1n << shift) - 1n;
    if (shift === 12n || (shift <= 30n && entry & LARGE))
      return (entry & ADDRESS & ~offset) | (gva & offset);
    table = entry & ADDRESS;
  }
  return undefined;
}

/** Two levels of 32-bit entries; a large page has 4 MiB. */
function walkShort(ram: GuestMemory, root: bigint, gva: bigint): bigint | undefined {
  const directory = ram.readU32(Number(root + (gva >> 22n) * 4n));
  if (directory === undefined || !(directory & 1)) return undefined;
  if (directory & 0x80) return BigInt(and32(directory, 0xffc0_0000)) | (gva & 0x3f_ffffn);
  const entry = ram.readU32(and32(directory, 0xffff_f000) + Number((gva >> 12n) & 0x3ffn) * 4);
  if (entry === undefined || !(entry & 1)) return undefined;
  return BigInt(and32(entry, 0xffff_f000)) | (gva & 0xfffn);
}
