/**
 * What the machine says of itself to `dmidecode`: the structures of SMBIOS 2.8 (DMTF DSP0134,
 * section 7) and their entry point (5.2.1). Strings of the user's take the place of its own.
 */
import { VmError } from '../../base/errors.js';

/** By type of structure, as `-smbios type=N` has them. Absent, or empty: nothing is said. */
export interface SmbiosWords {
  bios?: { vendor?: string; version?: string; date?: string };
  system?: {
    manufacturer?: string;
    product?: string;
    version?: string;
    serial?: string;
    sku?: string;
    family?: string;
  };
  baseboard?: {
    manufacturer?: string;
    product?: string;
    version?: string;
    serial?: string;
    asset?: string;
    location?: string;
  };
  chassis?: {
    manufacturer?: string;
    version?: string;
    serial?: string;
    asset?: string;
    sku?: string;
  };
  /** Type 11: for programs of the guest, which know what they mean. */
  oemStrings?: readonly string[];
}

export interface SmbiosFacts {
  readonly words: SmbiosWords;
  readonly uuid?: string;
  /** The version of system, chassis and processors that the user does not name. */
  readonly machineType: string;
  readonly sockets: number;
  readonly cores: number;
  readonly threads: number;
  /** Of RAM, in order. */
  readonly ranges: readonly { readonly base: number; readonly length: number }[];
}

export interface SmbiosTables {
  /** 31 bytes; it has the address of the structures, which `entryFor` puts there. */
  readonly entry: Buffer;
  readonly structures: Buffer;
}

const Type = {
  BIOS: 0,
  SYSTEM: 1,
  BASEBOARD: 2,
  CHASSIS: 3,
  PROCESSOR: 4,
  OEM_STRINGS: 11,
  MEMORY_ARRAY: 16,
  MEMORY_DEVICE: 17,
  MAPPED_ADDRESS: 19,
  BOOT: 32,
  END: 127,
} as const;
/** Of the first structure of a type; unique in all. */
const handleOf = (type: number, n = 0) => (type << 8) + n;

const MAKER = 'QEMU';
const MODEL = 'Standard PC (i440FX + PIIX, 1996)';
/** Without firmware the entry point lies before them, in the 64 KiB where it is looked for. */
const TABLE_MAX = 0x10000 - 0x20;
const STRINGS_MAX = 255;
const NONE = 0xffff;
const NO_ERRORS = 0xfffe;
const KIB = 1024;
const MIB = 1024 * KIB;
/** From here on a size is in the extended field. */
const ARRAY_KIB_MAX = 0x8000_0000;
const DEVICE_MIB_MAX = 0x7fff;
const SPEED_MHZ = 2000;

/** One structure: its formatted part, and the strings that it names by number. */
class Structure {
  private readonly strings: string[] = [];
  private readonly bytes: Buffer;

  constructor(
    type: number,
    length: number,
    readonly handle = handleOf(type),
  ) {
    this.bytes = Buffer.alloc(length);
    this.bytes.set([type, length]);
    this.bytes.writeUInt16LE(handle, 2);
  }

  u8(at: number, ...values: number[]): this {
    this.bytes.set(values, at);
    return this;
  }

  u16(at: number, ...values: number[]): this {
    values.forEach((value, i) => this.bytes.writeUInt16LE(value, at + 2 * i));
    return this;
  }

  u32(at: number, value: number): this {
    this.bytes.writeUInt32LE(value, at);
    return this;
  }

  u64(at: number, value: number): this {
    this.bytes.writeBigUInt64LE(BigInt(value), at);
    return this;
  }

  raw(at: number, bytes: Uint8Array): this {
    this.bytes.set(bytes, at);
    return this;
  }

  /** The number that stands for it; 0: there is none. */
  text(at: number, text = ''): this {
    if (text !== '') this.bytes[at] = this.strings.push(text);
    return this;
  }

  get built(): Buffer {
    const strings = this.strings.length > 0 ? this.strings : [''];
    return Buffer.concat([
      this.bytes,
      ...strings.map(text => Buffer.from(`${text}\0`, 'latin1')),
      Buffer.of(0),
    ]);
  }
}

/** withBios: no firmware adds a structure of its own. VmError: strings that do not fit. */
export function smbiosTables(
  facts: SmbiosFacts,
  { withBios }: { withBios: boolean },
): SmbiosTables {
  const { words } = facts;
  const structures = [
    ...(words.bios || withBios ? [bios(words)] : []),
    system(facts),
    ...(words.baseboard ? [baseboard(words.baseboard)] : []),
    chassis(facts),
    ...Array.from({ length: facts.sockets }, (_, n) => processor(n, facts)),
    ...(words.oemStrings?.length ? [oemStrings(words.oemStrings)] : []),
    ...memory(facts.ranges),
    new Structure(Type.BOOT, 0x0b),
    new Structure(Type.END, 4),
  ].map(({ built }) => built);
  const bytes = Buffer.concat(structures);
  if (bytes.length > TABLE_MAX)
    throw new VmError(`-smbios: ${bytes.length} bytes of strings are too many: at most 64 KiB`);
  const largest = Math.max(...structures.map(({ length }) => length));
  return { entry: entryPoint(bytes.length, largest, structures.length), structures: bytes };
}

/** The entry point of structures at that address; its checksums are right. */
export function entryFor({ entry }: SmbiosTables, address: number): Buffer {
  const bytes = Buffer.from(entry);
  bytes.writeUInt32LE(address, 0x18);
  bytes[Entry.SUM_DMI] = 0;
  bytes[Entry.SUM_DMI] = checksum(bytes.subarray(Entry.DMI));
  bytes[Entry.SUM] = 0;
  bytes[Entry.SUM] = checksum(bytes);
  return bytes;
}

/** The room that it takes. */
export const SMBIOS_ENTRY = 0x20;
const Entry = { SUM: 0x04, DMI: 0x10, SUM_DMI: 0x15, LENGTH: 0x1f } as const;

function entryPoint(length: number, largest: number, count: number): Buffer {
  const bytes = Buffer.alloc(Entry.LENGTH);
  bytes.write('_SM_', 0, 'latin1');
  bytes.set([Entry.LENGTH, 2, 8], 0x05);
  bytes.writeUInt16LE(largest, 0x08);
  bytes.write('_DMI_', Entry.DMI, 'latin1');
  bytes.writeUInt16LE(length, 0x16);
  bytes.writeUInt16LE(count, 0x1c);
  bytes[0x1e] = 0x28;
  return entryFor({ entry: bytes, structures: bytes }, 0);
}

const checksum = (bytes: Uint8Array) => -bytes.reduce((sum, byte) => sum + byte, 0) & 0xff;

/** 7.1. Characteristics: none are told; a virtual machine. */
const bios = ({ bios: given = {} }: SmbiosWords) =>
  new Structure(Type.BIOS, 0x18)
    .text(0x04, given.vendor ?? 'colo')
    .text(0x05, given.version ?? '1')
    .u16(0x06, 0xe800)
    .text(0x08, given.date ?? '01/01/2026')
    .u64(0x0a, 1 << 3)
    .u8(0x12, 0, (1 << 2) | (1 << 4), 0, 0, 0xff, 0xff);

/** 7.2. The first three parts of a UUID are numbers, lowest byte first. */
function system({ words: { system: given = {} }, uuid = '', machineType }: SmbiosFacts): Structure {
  const id = Buffer.from(uuid.replaceAll('-', '').padEnd(32, '0'), 'hex');
  id.subarray(0, 4).reverse();
  id.subarray(4, 6).reverse();
  id.subarray(6, 8).reverse();
  const woken = 6; // by its power switch
  return new Structure(Type.SYSTEM, 0x1b)
    .text(0x04, given.manufacturer ?? MAKER)
    .text(0x05, given.product ?? MODEL)
    .text(0x06, given.version ?? machineType)
    .text(0x07, given.serial)
    .raw(0x08, id)
    .u8(0x18, woken)
    .text(0x19, given.sku)
    .text(0x1a, given.family);
}

/** 7.3: a motherboard, which others stand on. */
const baseboard = (given: NonNullable<SmbiosWords['baseboard']>) =>
  new Structure(Type.BASEBOARD, 0x0f)
    .text(0x04, given.manufacturer ?? MAKER)
    .text(0x05, given.product ?? MODEL)
    .text(0x06, given.version)
    .text(0x07, given.serial)
    .text(0x08, given.asset)
    .u8(0x09, 1)
    .text(0x0a, given.location)
    .u16(0x0b, handleOf(Type.CHASSIS))
    .u8(0x0d, 0x0a);

/** 7.4: of another kind than those listed, its states safe. */
const chassis = ({ words: { chassis: given = {} }, machineType }: SmbiosFacts) =>
  new Structure(Type.CHASSIS, 0x16)
    .text(0x04, given.manufacturer ?? MAKER)
    .u8(0x05, 1)
    .text(0x06, given.version ?? machineType)
    .text(0x07, given.serial)
    .text(0x08, given.asset)
    .u8(0x09, 3, 3, 3, 2)
    .text(0x15, given.sku);

/** 7.5: enabled; no cache is told. */
const processor = (n: number, { cores, threads, machineType }: SmbiosFacts) =>
  new Structure(Type.PROCESSOR, 0x2a, handleOf(Type.PROCESSOR, n))
    .text(0x04, `CPU ${n}`)
    .u8(0x05, 3, 1)
    .text(0x07, MAKER)
    .text(0x10, machineType)
    .u16(0x14, SPEED_MHZ, SPEED_MHZ)
    .u8(0x18, 0x41, 1)
    .u16(0x1a, NONE, NONE, NONE)
    .u8(0x23, cores, cores, cores * threads)
    .u16(0x26, 1 << 1, 1);

/** 7.12. Their number is a byte. */
function oemStrings(strings: readonly string[]): Structure {
  if (strings.length > STRINGS_MAX)
    throw new VmError(
      `-smbios type=11: ${strings.length} strings are too many: at most ${STRINGS_MAX}`,
    );
  const structure = new Structure(Type.OEM_STRINGS, 5);
  for (const text of strings) structure.text(4, text);
  return structure;
}

/** 7.17, 7.18, 7.20: one array with one module, and where it is to be seen. */
function memory(ranges: SmbiosFacts['ranges']): Structure[] {
  const bytes = ranges.reduce((sum, { length }) => sum + length, 0);
  const [kib, mib] = [Math.ceil(bytes / KIB), Math.ceil(bytes / MIB)];
  const array = new Structure(Type.MEMORY_ARRAY, 0x17)
    .u8(0x04, 1, 3, 3)
    .u32(0x07, Math.min(kib, ARRAY_KIB_MAX))
    .u16(0x0b, NO_ERRORS, 1)
    .u64(0x0f, kib < ARRAY_KIB_MAX ? 0 : bytes);
  const dimm = new Structure(Type.MEMORY_DEVICE, 0x28)
    .u16(0x04, array.handle, NO_ERRORS, NONE, NONE, Math.min(mib, DEVICE_MIB_MAX))
    .u8(0x0e, 9)
    .text(0x10, 'DIMM 0')
    .u8(0x12, 7)
    .u16(0x13, 1 << 1)
    .text(0x17, MAKER)
    .u32(0x1c, mib < DEVICE_MIB_MAX ? 0 : mib);
  const mapped = ranges.map(({ base, length }, n) =>
    new Structure(Type.MAPPED_ADDRESS, 0x1f, handleOf(Type.MAPPED_ADDRESS, n))
      .u32(0x04, base / KIB)
      .u32(0x08, Math.ceil((base + length) / KIB) - 1)
      .u16(0x0c, array.handle)
      .u8(0x0e, 1),
  );
  return [array, dimm, ...mapped];
}
