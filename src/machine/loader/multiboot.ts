/**
 * Kernels with a Multiboot header (Multiboot Specification 0.6.96): entered in 32-bit protected
 * mode without paging, EBX at the boot information. -initrd is the one module. Video modes are not
 * offered.
 */
import { VmError } from '../../base/errors.js';
import { type BootRegisters, type Segment, taskSegment } from './cpu-image.js';
import { type ElfSegment, isElf, parseElf32 } from './elf.js';
import type { KernelImage, LoadPlan } from './linux.js';
import { e820, Low, MIB, ramLayout } from './memory-map.js';

const HEADER_MAGIC = 0x1bad_b002;
const BOOT_MAGIC = 0x2bad_b002;
const SEARCHED_BYTES = 8192;
/** Bits of the header's flags. Of the first sixteen an unknown one forbids to boot. */
const Flag = { PAGE_ALIGN: 1, MEMORY_INFO: 2, VIDEO: 4, ADDRESSES: 0x1_0000 } as const;
const REQUIREMENTS = 0xffff;
/** Bits of the information's flags, and its fields. */
const Info = {
  MEMORY: 1,
  COMMAND_LINE: 4,
  MODULES: 8,
  MEMORY_MAP: 0x40,
  LOADER_NAME: 0x200,
} as const;
const At = {
  FLAGS: 0,
  MEM_LOWER: 4,
  MEM_UPPER: 8,
  COMMAND_LINE: 16,
  MODULES_COUNT: 20,
  MODULES: 24,
  MAP_LENGTH: 44,
  MAP: 48,
  LOADER_NAME: 64,
} as const;
/** Places in the page of the information. */
const MODULE_LIST = 0x80;
const MEMORY_MAP = 0x100;
const NAME = 0x400;
const MODULE_NAME = 0x500;
const MODULE_NAME_MAX = 2000;
const PAGE = 4096;
const MAP_ENTRY = 24;

interface Header {
  offset: number;
  flags: number;
}

function findHeader(b: Buffer): Header | undefined {
  const end = Math.min(b.length, SEARCHED_BYTES) - 12;
  for (let offset = 0; offset <= end; offset += 4) {
    if (b.readUInt32LE(offset) !== HEADER_MAGIC) continue;
    const flags = b.readUInt32LE(offset + 4);
    if ((HEADER_MAGIC + flags + b.readUInt32LE(offset + 8)) % 2 ** 32 === 0)
      return { offset, flags };
  }
  return undefined;
}

const pageFrom = (gpa: number) => Math.ceil(gpa / PAGE) * PAGE;
const bufferOf = (bytes: Uint8Array) =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);

export function isMultiboot(bytes: Uint8Array): boolean {
  return findHeader(bufferOf(bytes)) !== undefined;
}

export function planMultiboot(image: KernelImage): LoadPlan {
  const { kernel, append, initrd, ramBytes } = image;
  const option = `-kernel ${kernel.path}`;
  const b = bufferOf(kernel.bytes);
  const header = findHeader(b);
  if (!header) throw new VmError(`${option}: no Multiboot header`);
  const unknown = header.flags & REQUIREMENTS & ~(Flag.PAGE_ALIGN | Flag.MEMORY_INFO);
  if (unknown & Flag.VIDEO)
    throw new VmError(`${option}: asks for a video mode, and video modes are not offered`);
  if (unknown)
    throw new VmError(`${option}: asks for Multiboot features 0x${unknown.toString(16)}`);
  const { entry, segments } =
    header.flags & Flag.ADDRESSES ? fromAddresses(b, header, option) : fromElf(b, option);
  const { low } = ramLayout(ramBytes);
  const line = Buffer.from(`${kernel.path} ${append}\0`, 'latin1');
  const infoAt = pageFrom(Math.max(Low.TOP, ...segments.map(s => s.gpa + s.memorySize)));
  const lineAt = infoAt + PAGE;
  const moduleAt = pageFrom(lineAt + line.length);
  const needed = moduleAt + (initrd?.bytes.length ?? 0);
  if (needed > low)
    throw new VmError(
      `${option}: with its module needs ${Math.ceil(needed / MIB)} MiB of RAM, ` +
        `the machine has ${Math.floor(low / MIB)}`,
    );
  const pieces = segments.flatMap(s => [
    { gpa: s.gpa, bytes: s.bytes },
    { gpa: s.gpa + s.bytes.length, bytes: Buffer.alloc(s.memorySize - s.bytes.length) },
  ]);
  if (initrd) pieces.push({ gpa: moduleAt, bytes: initrd.bytes });
  const module = initrd && {
    start: moduleAt,
    end: moduleAt + initrd.bytes.length,
    path: initrd.path,
  };
  const info = information(ramBytes, { infoAt, lineAt, module });
  pieces.push({ gpa: infoAt, bytes: info }, { gpa: lineAt, bytes: line });
  return { pieces, registers: entryRegisters(entry, infoAt) };
}

function fromElf(b: Buffer, option: string): { entry: number; segments: ElfSegment[] } {
  if (!isElf(b))
    throw new VmError(`${option}: a Multiboot header without addresses, and no ELF file`);
  return parseElf32(b, option);
}

/** The header says itself where what goes: header_addr, load_addr, load_end, bss_end, entry. */
function fromAddresses(b: Buffer, header: Header, option: string) {
  if (header.offset + 32 > b.length)
    throw new VmError(`${option}: its Multiboot header is cut off`);
  const [headerAt, loadAt, loadEnd, bssEnd, entry] = [12, 16, 20, 24, 28].map(field =>
    b.readUInt32LE(header.offset + field),
  );
  const offset = header.offset - (headerAt - loadAt);
  const length = loadEnd === 0 ? b.length - offset : loadEnd - loadAt;
  const memorySize = Math.max(length, bssEnd === 0 ? 0 : bssEnd - loadAt);
  if (headerAt < loadAt || offset < 0 || length <= 0 || offset + length > b.length)
    throw new VmError(`${option}: the addresses of its Multiboot header are outside the file`);
  if (loadAt < Low.TOP)
    throw new VmError(`${option}: wants to be at 0x${loadAt.toString(16)}, below 1 MiB`);
  if (entry < loadAt || entry >= loadAt + memorySize)
    throw new VmError(`${option}: the entry point 0x${entry.toString(16)} is not in what it loads`);
  const bytes = b.subarray(offset, offset + length);
  return { entry, segments: [{ gpa: loadAt, bytes, memorySize }] };
}

interface Places {
  infoAt: number;
  lineAt: number;
  module?: { start: number; end: number; path: string };
}

/** Behind the kernel, as its command line and its module are: all below may be the kernel's. */
function information(ramBytes: number, { infoAt, lineAt, module }: Places): Buffer {
  const b = Buffer.alloc(PAGE);
  const { low } = ramLayout(ramBytes);
  const map = e820(ramBytes);
  const has = Info.MEMORY | Info.COMMAND_LINE | Info.MEMORY_MAP | Info.LOADER_NAME | Info.MODULES;
  b.writeUInt32LE(has, At.FLAGS);
  b.writeUInt32LE(Low.EBDA / 1024, At.MEM_LOWER);
  b.writeUInt32LE((low - Low.TOP) / 1024, At.MEM_UPPER);
  b.writeUInt32LE(lineAt, At.COMMAND_LINE);
  b.writeUInt32LE(module ? 1 : 0, At.MODULES_COUNT);
  b.writeUInt32LE(infoAt + MODULE_LIST, At.MODULES);
  if (module) {
    b.writeUInt32LE(module.start, MODULE_LIST);
    b.writeUInt32LE(module.end, MODULE_LIST + 4);
    b.writeUInt32LE(infoAt + MODULE_NAME, MODULE_LIST + 8);
    b.write(`${module.path.slice(0, MODULE_NAME_MAX)}\0`, MODULE_NAME, 'latin1');
  }
  b.writeUInt32LE(map.length * MAP_ENTRY, At.MAP_LENGTH);
  b.writeUInt32LE(infoAt + MEMORY_MAP, At.MAP);
  map.forEach(({ base, length, type }, i) => {
    const at = MEMORY_MAP + MAP_ENTRY * i;
    b.writeUInt32LE(MAP_ENTRY - 4, at);
    b.writeBigUInt64LE(BigInt(base), at + 4);
    b.writeBigUInt64LE(BigInt(length), at + 12);
    b.writeUInt32LE(type, at + 20);
  });
  b.writeUInt32LE(infoAt + NAME, At.LOADER_NAME);
  b.write('colo\0', NAME, 'latin1');
  return b;
}

const FLAT = { base: 0, limit: 0xffff_ffff, present: true, s: true, granular: true };
const CODE: Segment = { ...FLAT, selector: 0x10, type: 0x0b, long: false, db: true };
const DATA: Segment = { ...FLAT, selector: 0x18, type: 0x03, long: false, db: true };

function entryRegisters(entry: number, infoAt: number): BootRegisters {
  return {
    regs: { rip: entry, rax: BOOT_MAGIC, rbx: infoAt, rflags: 0x2 },
    controls: { cr0: 0x11, cr3: 0, cr4: 0, efer: 0 }, // PE, ET
    code: CODE,
    data: DATA,
    task: taskSegment(0x20),
    gdt: { base: 0, limit: 0 },
  };
}
