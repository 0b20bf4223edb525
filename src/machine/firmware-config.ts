/** What firmware asks of this machine: items and files of fw_cfg, and bytes of CMOS. */
import { type AcpiTables, RSDP } from '../hw/acpi/tables.js';
import { type FwCfg, FwCfgKey, le16, le32, le64 } from '../hw/firmware/fw-cfg.js';
import { TableLoader, Zone } from '../hw/firmware/table-loader.js';
import type { SmbiosTables } from '../hw/firmware/smbios.js';
import { type FirmwareKernel, KERNEL_ROM } from './loader/linux-firmware.js';
import { ramRanges } from './loader/memory-map.js';
import type { BootSpec } from './spec.js';

/** `-boot order=`: what is tried, in order; CMOS has a digit for each. */
const DIGITS: Readonly<Record<string, number>> = { a: 1, b: 1, c: 2, d: 3, n: 4 };
const BOOT_FIRST_TWO = 0x3d;
const BOOT_THIRD = 0x38;
const PROCESSORS = 0x5f;
const NO_FLOPPY_CHECK = 0x01;
const E820_RAM = 1;
const TABLES = 'etc/acpi/tables';
const ROOT = 'etc/acpi/rsdp';

/** By index in CMOS. */
export function cmosBytes(boot: BootSpec, cpus: number): ReadonlyMap<number, number> {
  const [first = 0, second = 0, third = 0] = [...boot.order].map(letter => DIGITS[letter]);
  return new Map([
    [BOOT_FIRST_TWO, first | (second << 4)],
    [BOOT_THIRD, (third << 4) | NO_FLOPPY_CHECK],
    [PROCESSORS, cpus - 1],
  ]);
}

export interface FirmwareFacts {
  readonly ramBytes: number;
  readonly cpus: number;
  /** Above the largest. */
  readonly apicIdLimit: number;
  readonly uuid?: string;
  readonly boot: BootSpec;
  /** Open Firmware's paths of the devices with a bootindex, in order. */
  readonly bootPaths: readonly string[];
  readonly tables: AcpiTables;
  /** What firmware boots before all else. */
  readonly kernel?: FirmwareKernel;
  /** Firmware gives them an address, and says itself what it is. */
  readonly smbios: SmbiosTables;
}

export function configureFirmware(fw: FwCfg, facts: FirmwareFacts): void {
  const { boot } = facts;
  fw.item(
    FwCfgKey.UUID,
    Buffer.from((facts.uuid ?? '').replaceAll('-', '').padEnd(32, '0'), 'hex'),
  );
  fw.item(FwCfgKey.RAM_SIZE, le64(facts.ramBytes));
  fw.item(FwCfgKey.NOGRAPHIC, le16(0));
  fw.item(FwCfgKey.NB_CPUS, le16(facts.cpus));
  fw.item(FwCfgKey.MAX_CPUS, le16(facts.apicIdLimit));
  fw.item(FwCfgKey.NUMA, le64(0));
  fw.item(FwCfgKey.BOOT_MENU, le16(boot.menu ? 1 : 0));
  fw.item(FwCfgKey.IRQ0_OVERRIDE, le32(1));
  fw.file('etc/e820', e820File(facts.ramBytes));
  if (boot.splashMs !== undefined) fw.file('etc/boot-menu-wait', le16(boot.splashMs));
  const { kernel } = facts;
  if (kernel) {
    fw.file(KERNEL_ROM, kernel.rom);
    for (const [key, bytes] of kernel.items) fw.item(key, bytes);
  }
  const first = [...(kernel ? [`/rom@${KERNEL_ROM}`] : []), ...facts.bootPaths];
  if (first.length > 0) {
    const halt = boot.strict ? ['HALT'] : [];
    fw.file('bootorder', Buffer.from(`${[...first, ...halt].join('\n')}\0`, 'latin1'));
  }
  fw.file('etc/smbios/smbios-tables', facts.smbios.structures);
  fw.file('etc/smbios/smbios-anchor', facts.smbios.entry);
  addTables(fw, facts.tables);
}

/** RAM, as 64-bit base, 64-bit length, 32-bit type; firmware adds what it takes for itself. */
function e820File(ramBytes: number): Buffer {
  const entries = ramRanges(ramBytes).map(({ base, length }) =>
    Buffer.concat([le64(base), le64(length), le32(E820_RAM)]),
  );
  return Buffer.concat(entries);
}

function addTables(fw: FwCfg, tables: AcpiTables): void {
  const loader = new TableLoader();
  loader.allocate(TABLES, 64, Zone.HIGH);
  loader.allocate(ROOT, 16, Zone.FSEG);
  const bytes = Buffer.from(tables.bytes);
  for (const { at, size } of tables.pointers) loader.pointer(TABLES, TABLES, at, size);
  for (const { at, start, length } of tables.checksums) {
    bytes[at] = 0;
    loader.checksum(TABLES, at, start, length);
  }
  loader.pointer(ROOT, TABLES, RSDP.XSDT, 8);
  loader.checksum(ROOT, RSDP.CHECKSUM, 0, RSDP.CHECKED);
  loader.checksum(ROOT, RSDP.CHECKSUM_ALL, 0, RSDP.SIZE);
  fw.file(TABLES, bytes);
  fw.file(ROOT, tables.rsdp);
  fw.file('etc/table-loader', loader.bytes());
}
