/**
 * Linux by its 64-bit entry (kernel documentation, "The Linux/x86 Boot Protocol", section "64-bit
 * boot protocol"): a bzImage, or an ELF vmlinux whose header fields are made up for it. What is to
 * be placed is computed and checked before the machine starts; placing it is repeated at each
 * reset.
 */
import { VmError } from '../../base/errors.js';
import { type BootRegisters, descriptor, type Segment, taskSegment } from './cpu-image.js';
import { ADDRESS_MAX, type ElfSegment, isElf, parseElf } from './elf.js';
import { e820, Low, MIB, ramLayout } from './memory-map.js';

export interface LoadPlan {
  pieces: { gpa: number; bytes: Uint8Array }[];
  /** Where a fresh random seed goes at each start (32 bytes), for a kernel that takes one. */
  seed?: { gpa: number; length: number };
  registers: BootRegisters;
}

export interface KernelImage {
  kernel: { path: string; bytes: Uint8Array };
  initrd?: { path: string; bytes: Uint8Array };
  append: string;
  ramBytes: number;
  /** Physical address of the ACPI RSDP. */
  rsdp: number;
}

/** Offsets in boot_params and in the bzImage's first sector; the names are the protocol's. */
export const H = {
  acpi_rsdp_addr: 0x070,
  ext_ramdisk_image: 0x0c0,
  ext_ramdisk_size: 0x0c4,
  e820_entries: 0x1e8,
  setup_sects: 0x1f1,
  syssize: 0x1f4,
  boot_flag: 0x1fe,
  jump: 0x201,
  header: 0x202,
  version: 0x206,
  type_of_loader: 0x210,
  loadflags: 0x211,
  code32_start: 0x214,
  ramdisk_image: 0x218,
  ramdisk_size: 0x21c,
  heap_end_ptr: 0x224,
  cmd_line_ptr: 0x228,
  initrd_addr_max: 0x22c,
  kernel_alignment: 0x230,
  xloadflags: 0x236,
  cmdline_size: 0x238,
  setup_data: 0x250,
  pref_address: 0x258,
  init_size: 0x260,
  e820_table: 0x2d0,
} as const;
const SECTOR = 512;
const ZERO_PAGE_SIZE = 4096;
const HDRS = 0x53726448;
const BOOT_FLAG = 0xaa55;
const VERSION_64BIT = 0x020c;
const XLF_KERNEL_64 = 1;
const LOADED_HIGH = 0x01;
const UNDEFINED_LOADER = 0xff;
const ENTRY_64 = 0x200;
/** What a vmlinux would say of itself. */
const ELF_INITRD_MAX = 0x7fff_ffff;
const ELF_CMDLINE_MAX = 2047;
const INITRD_ALIGN = 4096;
/**
 * struct setup_data: next, type, length, data. A kernel without a random seed has its first
 * programs wait for one.
 */
const SETUP_RNG_SEED = 9;
const SETUP_HEADER = 16;
const SEED_LENGTH = 32;

interface Kernel {
  pieces: { gpa: number; bytes: Uint8Array }[];
  entry: number;
  /** The end of what the kernel needs before it knows its memory map. */
  end: number;
  start: number;
  zeroPage: Buffer;
  initrdMax: number;
  cmdlineMax: number;
}

export function planLinux(image: KernelImage): LoadPlan {
  const { kernel, initrd, append, ramBytes } = image;
  const option = `-kernel ${kernel.path}`;
  const { low } = ramLayout(ramBytes);
  const read = isElf(kernel.bytes) ? fromElf : fromBzImage;
  const k = read(kernel.bytes, option, low);
  const cmdline = commandLine(append, k.cmdlineMax);
  const pieces = [...k.pieces, { gpa: Low.COMMAND_LINE, bytes: cmdline }];
  k.zeroPage.writeUInt32LE(Low.COMMAND_LINE, H.cmd_line_ptr);
  if (initrd) {
    const gpa = placeInitrd(initrd, k, low);
    k.zeroPage.writeUInt32LE(gpa, H.ramdisk_image);
    k.zeroPage.writeUInt32LE(initrd.bytes.length, H.ramdisk_size);
    pieces.push({ gpa, bytes: initrd.bytes });
  }
  fillZeroPage(k.zeroPage, image);
  pieces.push(
    { gpa: Low.ZERO_PAGE, bytes: k.zeroPage },
    { gpa: Low.PAGE_TABLES, bytes: identityTables() },
    { gpa: Low.GDT, bytes: gdt() },
  );
  pieces.push({ gpa: Low.SEED, bytes: seedHeader() });
  return {
    pieces,
    seed: { gpa: Low.SEED + SETUP_HEADER, length: SEED_LENGTH },
    registers: bootRegisters(k.entry),
  };
}

/** With its final zero. */
export function commandLine(append: string, max: number): Buffer {
  const cmdline = Buffer.from(`${append}\0`, 'latin1');
  if (cmdline.length - 1 > max)
    throw new VmError(
      `-append: ${cmdline.length - 1} characters, this kernel takes at most ${max}`,
    );
  if (cmdline.length > Low.EBDA - Low.COMMAND_LINE) throw new VmError('-append: too long');
  return cmdline;
}

/** The end of what a kernel needs, before memory is taken for it. */
function mustFit(end: number, low: number, option: string): void {
  const mib = (bytes: number) => Math.floor(bytes / MIB);
  if (end > low)
    throw new VmError(
      `${option}: needs ${mib(end + MIB - 1)} MiB of RAM, the machine has ${mib(low)}`,
    );
}

/**
 * Below 1 MiB lie the loader's own tables; from 4 GiB up the page tables of the entry map nothing.
 */
function loadAddress(address: bigint, option: string): number {
  if (address >= BigInt(Low.TOP) && address <= ADDRESS_MAX) return Number(address);
  throw new VmError(
    `${option}: wants to be at 0x${address.toString(16)}; a kernel goes between 1 MiB and 4 GiB`,
  );
}

/** In bytes, with the boot sector; a kernel that says 0 sectors has 4. */
export const setupLength = (bzImage: Buffer): number =>
  ((bzImage[H.setup_sects] || 4) + 1) * SECTOR;

export function fromBzImage(bytes: Uint8Array, option: string, low: number): Kernel {
  const b = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (
    b.length < 1024 ||
    b.readUInt16LE(H.boot_flag) !== BOOT_FLAG ||
    b.readUInt32LE(H.header) !== HDRS
  ) {
    throw new VmError(`${option}: neither a bzImage, an ELF vmlinux nor a Multiboot kernel`);
  }
  const version = b.readUInt16LE(H.version);
  if (version < VERSION_64BIT || (b.readUInt16LE(H.xloadflags) & XLF_KERNEL_64) === 0)
    throw new VmError(
      `${option}: has no 64-bit entry (boot protocol ${version >> 8}.${version & 0xff})`,
    );
  const payload = setupLength(b);
  const whole = payload + b.readUInt32LE(H.syssize) * 16;
  if (payload + ENTRY_64 >= b.length || b.length < whole)
    throw new VmError(`${option}: truncated, ${b.length} bytes of ${whole}`);
  const initSize = b.readUInt32LE(H.init_size);
  // Also a relocatable kernel unpacks itself to this address or above, wherever it was loaded.
  const start = loadAddress(b.readBigUInt64LE(H.pref_address), option);
  const end = start + Math.max(initSize, b.length - payload);
  mustFit(end, low, option);
  const zeroPage = Buffer.alloc(ZERO_PAGE_SIZE);
  b.copy(zeroPage, H.setup_sects, H.setup_sects, Math.min(H.header + b[H.jump], H.e820_table));
  zeroPage[H.loadflags] |= LOADED_HIGH;
  zeroPage.writeUInt32LE(start, H.code32_start);
  return {
    pieces: [{ gpa: start, bytes: bytes.subarray(payload) }],
    entry: start + ENTRY_64,
    start,
    end,
    zeroPage,
    initrdMax: b.readUInt32LE(H.initrd_addr_max),
    cmdlineMax: b.readUInt32LE(H.cmdline_size),
  };
}

function fromElf(bytes: Uint8Array, option: string, low: number): Kernel {
  const { entry, segments } = parseElf(bytes, option);
  const end = Math.max(...segments.map((s: ElfSegment) => s.gpa + s.memorySize));
  mustFit(end, low, option);
  const zeroPage = Buffer.alloc(ZERO_PAGE_SIZE);
  zeroPage.writeUInt16LE(BOOT_FLAG, H.boot_flag);
  zeroPage.writeUInt32LE(HDRS, H.header);
  zeroPage.writeUInt16LE(VERSION_64BIT, H.version);
  zeroPage.writeUInt32LE(0x100_0000, H.kernel_alignment);
  zeroPage.writeUInt32LE(ELF_CMDLINE_MAX, H.cmdline_size);
  return {
    pieces: segments.flatMap(s => [
      { gpa: s.gpa, bytes: s.bytes },
      { gpa: s.gpa + s.bytes.length, bytes: Buffer.alloc(s.memorySize - s.bytes.length) },
    ]),
    entry,
    start: Math.min(...segments.map(s => s.gpa)),
    end,
    zeroPage,
    initrdMax: ELF_INITRD_MAX,
    cmdlineMax: ELF_CMDLINE_MAX,
  };
}

/**
 * As high as the kernel allows, so that it does not stand in the way of what the kernel unpacks.
 */
export function placeInitrd(
  initrd: { path: string; bytes: Uint8Array },
  k: Pick<Kernel, 'end' | 'initrdMax'>,
  low: number,
): number {
  const option = `-initrd ${initrd.path}`;
  const { length } = initrd.bytes;
  if (!looksLikeInitrd(initrd.bytes))
    throw new VmError(
      `${option}: neither a cpio archive, a compressed one, nor a file system image`,
    );
  const top = Math.min(low, k.initrdMax + 1);
  const gpa = Math.floor((top - length) / INITRD_ALIGN) * INITRD_ALIGN;
  if (gpa < k.end)
    throw new VmError(
      `${option}: ${Math.ceil(length / MIB)} MiB do not fit between the kernel's end at ` +
        `${Math.ceil(k.end / MIB)} MiB and ${Math.floor(top / MIB)} MiB`,
    );
  return gpa;
}

/** cpio (newc), gzip, bzip2, xz, lzma, lzo, lz4, zstd; squashfs, cramfs, ext2. */
function looksLikeInitrd(bytes: Uint8Array): boolean {
  const b = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const magics = [
    '303730373031',
    '303730373032',
    '1f8b',
    '425a68',
    'fd377a58',
    '5d0000',
    '894c5a4f',
    '02214c18',
    '28b52ffd',
    '68737173',
    '453dcd28',
  ];
  const head = b.subarray(0, 8).toString('hex');
  return (
    magics.some(magic => head.startsWith(magic)) ||
    (b.length > 0x43a && b.readUInt16LE(0x438) === 0xef53)
  );
}

function fillZeroPage(page: Buffer, { ramBytes, rsdp }: KernelImage): void {
  page[H.type_of_loader] = UNDEFINED_LOADER;
  page.writeUInt32LE(rsdp, H.acpi_rsdp_addr);
  page.writeUInt32LE(Low.SEED, H.setup_data);
  const map = e820(ramBytes);
  page[H.e820_entries] = map.length;
  map.forEach(({ base, length, type }, i) => {
    const at = H.e820_table + 20 * i;
    page.writeBigUInt64LE(BigInt(base), at);
    page.writeBigUInt64LE(BigInt(length), at + 8);
    page.writeUInt32LE(type, at + 16);
  });
}

function seedHeader(): Buffer {
  const b = Buffer.alloc(SETUP_HEADER);
  b.writeUInt32LE(SETUP_RNG_SEED, 8);
  b.writeUInt32LE(SEED_LENGTH, 12);
  return b;
}

/** The first 4 GiB mapped to themselves in 2 MiB pages: PML4, PDPT, four page directories. */
function identityTables(): Buffer {
  const PRESENT_WRITABLE = 0x3n;
  const LARGE = 0x80n;
  const b = Buffer.alloc(6 * 4096);
  const at = (page: number) => BigInt(Low.PAGE_TABLES + 4096 * page);
  b.writeBigUInt64LE(at(1) | PRESENT_WRITABLE, 0);
  for (let i = 0; i < 4; i++) b.writeBigUInt64LE(at(2 + i) | PRESENT_WRITABLE, 4096 + 8 * i);
  for (let i = 0; i < 4 * 512; i++)
    b.writeBigUInt64LE((BigInt(i) << 21n) | PRESENT_WRITABLE | LARGE, 2 * 4096 + 8 * i);
  return b;
}

/** __BOOT_CS and __BOOT_DS of the protocol, and a task segment, for the CPU wants one. */
const FLAT = { base: 0, limit: 0xffff_ffff, present: true, s: true, granular: true };
const CODE: Segment = { ...FLAT, selector: 0x10, type: 0x0b, long: true, db: false };
const DATA: Segment = { ...FLAT, selector: 0x18, type: 0x03, long: false, db: true };
const TASK = taskSegment(0x20);

function gdt(): Buffer {
  const b = Buffer.alloc(6 * 8);
  for (const s of [CODE, DATA, TASK]) b.writeBigUInt64LE(descriptor(s), s.selector);
  return b;
}

function bootRegisters(entry: number): BootRegisters {
  return {
    regs: { rip: entry, rsi: Low.ZERO_PAGE, rsp: Low.STACK, rbp: Low.STACK, rflags: 0x2 },
    // PE, ET, NE, PG; PAE; LME, LMA
    controls: { cr0: 0x8000_0031, cr3: Low.PAGE_TABLES, cr4: 0x20, efer: 0x500 },
    code: CODE,
    data: DATA,
    task: TASK,
    gdt: { base: Low.GDT, limit: 6 * 8 - 1 },
  };
}
