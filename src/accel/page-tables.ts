/**
 * Every page that a vCPU's page tables map, in ascending order of address, for `info mem` and `info
 * tlb`. The tables are the guest's and may say anything: the walk ends after a number of steps,
 * however they are tied together.
 */
import type { GuestMemory } from './contract.js';
import type { VcpuImage } from './vcpu-image.js';

export interface MappedPage {
  /** Canonical, 64 bits. */
  readonly gva: bigint;
  readonly gpa: bigint;
  readonly size: bigint;
  /** Of the entry itself. */
  readonly entry: bigint;
  /** Allowed by the entries of all levels. */
  readonly user: boolean;
  readonly writable: boolean;
}

export const PageFlag = {
  WRITE: 1n << 1n,
  USER: 1n << 2n,
  PWT: 1n << 3n,
  PCD: 1n << 4n,
  ACCESSED: 1n << 5n,
  DIRTY: 1n << 6n,
  LARGE: 1n << 7n,
  GLOBAL: 1n << 8n,
  NX: 1n << 63n,
} as const;

const PRESENT = 1;
const LARGE = 0x80;
const PG = 1n << 31n;
const PAE = 1n << 5n;
const LMA = 1n << 10n;
const ADDRESS = 0x000f_ffff_ffff_f000n;
const TABLE_BYTES = 4096;

/** What the entries of one level look like. */
interface Level {
  readonly shift: bigint;
  readonly count: number;
  readonly bytes: 4 | 8;
  /** An entry may map a page by itself. */
  readonly leaf: 'never' | 'large' | 'always';
}

const level = (
  shift: bigint,
  leaf: Level['leaf'],
  count = 512,
  bytes: Level['bytes'] = 8,
): Level => ({ shift, count, bytes, leaf });
const longMode = [
  level(39n, 'never'),
  level(30n, 'large'),
  level(21n, 'large'),
  level(12n, 'always'),
];
const paeMode = [level(30n, 'never', 4), level(21n, 'large'), level(12n, 'always')];
const shortMode = [level(22n, 'large', 1024, 4), level(12n, 'always', 1024, 4)];

/** undefined: paging is off. maxSteps: entries that are present, of all levels. */
export function mappedPages(
  ram: GuestMemory,
  cpu: VcpuImage,
  maxSteps: number,
): { pages: MappedPage[]; cut: boolean } | undefined {
  if (!(cpu.control('cr0') & PG)) return undefined;
  const cr3 = cpu.control('cr3');
  const walk = new Walk(ram, maxSteps);
  if (cpu.control('efer') & LMA) walk.table(cr3 & ADDRESS, longMode, 0n, true, true);
  else if (cpu.control('cr4') & PAE) walk.table(cr3 & 0xffff_ffe0n, paeMode, 0n, true, true);
  else walk.table(cr3 & 0xffff_f000n, shortMode, 0n, true, true);
  return { pages: walk.pages, cut: walk.left < 0 };
}

class Walk {
  readonly pages: MappedPage[] = [];

  constructor(
    private readonly ram: GuestMemory,
    public left: number,
  ) {}

  table(
    at: bigint,
    levels: readonly Level[],
    base: bigint,
    user: boolean,
    writable: boolean,
  ): void {
    const [{ shift, count, bytes, leaf }, ...below] = levels;
    const table = this.ram.read(Number(at), Math.min(TABLE_BYTES, count * bytes));
    if (!table) return;
    // The four entries of a PAE directory have no rights of their own.
    const rights = count !== 4;
    for (let i = 0; i < count; i++) {
      const low = table.readUInt32LE(i * bytes);
      if (!(low & PRESENT)) continue;
      if (--this.left < 0) return;
      const entry = bytes === 8 ? table.readBigUInt64LE(i * bytes) : BigInt(low);
      const gva = base + (BigInt(i) << shift);
      const mayUser = user && (!rights || (entry & PageFlag.USER) !== 0n);
      const mayWrite = writable && (!rights || (entry & PageFlag.WRITE) !== 0n);
      if (leaf === 'always' || (leaf === 'large' && low & LARGE))
        this.page(entry, gva, 1n << shift, mayUser, mayWrite);
      else this.table(entry & ADDRESS, below, gva, mayUser, mayWrite);
    }
  }

  private page(entry: bigint, gva: bigint, size: bigint, user: boolean, writable: boolean): void {
    this.pages.push({
      gva: canonical(gva),
      gpa: entry & ADDRESS & ~(size - 1n),
      size,
      entry,
      user,
      writable,
    });
  }
}

const canonical = (gva: bigint) =>
  gva & (1n << 47n) ? BigInt.asUintN(64, gva | ~0xffff_ffff_ffffn) : gva;
