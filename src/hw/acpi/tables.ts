/**
 * The ACPI tables of this machine (ACPI 6.3, section 5.2; AML: dsdt below): RSDP, XSDT, FADT, FACS,
 * MADT, DSDT. No HPET, no MCFG: neither chip exists. Without firmware they lie below 1 MiB, where a
 * guest looks for the RSDP.
 */
import { assert } from '../../base/errors.js';
import {
  busRange,
  device,
  eisaId,
  amlInteger,
  ioPorts,
  ioRange,
  isaIrq,
  memoryRange,
  method,
  named,
  pack,
  resources,
  returned,
  scope,
  storeArgument,
  amlText,
  whenSet,
} from './aml.js';
import { PM } from './pm.js';

export interface AcpiConfig {
  /** Of each processor. */
  apicIds: readonly number[];
  /** Base port and IRQ of each UART. */
  serials: readonly { base: number; irq: number }[];
  /** Where INTx pin 0..3 of a PCI slot leads: its IOAPIC pin, and its input of the 8259s. */
  intx: Readonly<Record<'ioapic' | 'pic', (slot: number, pin: number) => number>>;
  pciSlots: number;
  /** Where PCI memory BARs may lie. */
  pciHole: { first: number; last: number };
  /** There is a graphics card: then a keyboard and a mouse are looked for, which takes a while. */
  screen?: boolean;
}

const LAPIC_BASE = 0xfee0_0000;
const IOAPIC_BASE = 0xfec0_0000;
const RTC_CENTURY = 0x32;
const RESET_PORT = 0xcf9;
const RESET_VALUE = 0x06;
const HEADER = 36;
const FACS_SIZE = 64;
/**
 * FADT flags (table 5-34): WBINVD works, C1 works, no sleep button, RTC is not a fixed event,
 * 32-bit PM timer, reset register.
 */
const FADT_FLAGS = (1 << 0) | (1 << 2) | (1 << 5) | (1 << 6) | (1 << 8) | (1 << 10);
/** IAPC_BOOT_ARCH (table 5-36): there are legacy devices (UARTs), a keyboard controller; no VGA. */
const BootArch = { LEGACY: 1 << 0, I8042: 1 << 1, NO_VGA: 1 << 2 } as const;

/** The tables but for the RSDP, as if they began at address 0, and what an address changes. */
export interface AcpiTables {
  readonly bytes: Buffer;
  /** Where offsets in `bytes` stand that become addresses; size: 4 or 8. */
  readonly pointers: readonly { at: number; size: 4 | 8 }[];
  /** Where each table has its checksum, and from where to where it counts. */
  readonly checksums: readonly { at: number; start: number; length: number }[];
  /** Its address of the XSDT, an offset, is at RSDP.XSDT; its two checksums are to be made. */
  readonly rsdp: Buffer;
}

export const RSDP = { SIZE: 36, XSDT: 24, CHECKSUM: 8, CHECKED: 20, CHECKSUM_ALL: 32 } as const;
const ALIGN = 64;
const CHECKSUM = 9;
/** Addresses in the FADT: FACS, DSDT, and the DSDT once more. */
const FADT_POINTERS = [
  { at: 36, size: 4 },
  { at: 40, size: 4 },
  { at: 140, size: 8 },
] as const;

/** What firmware places, or acpiTables(). */
export function relocatableTables(config: AcpiConfig): AcpiTables {
  const parts: Buffer[] = [];
  const pointers: { at: number; size: 4 | 8 }[] = [];
  const checksums: { at: number; start: number; length: number }[] = [];
  let at = 0;
  const place = (part: Buffer, addresses: readonly { at: number; size: 4 | 8 }[] = []): number => {
    const start = at;
    const padded = Buffer.alloc(Math.ceil(part.length / ALIGN) * ALIGN);
    part.copy(padded);
    parts.push(padded);
    at += padded.length;
    for (const address of addresses) pointers.push({ at: start + address.at, size: address.size });
    if (addresses.length > 0) checksums.push({ at: start + CHECKSUM, start, length: part.length });
    return start;
  };
  const facsAt = place(facs());
  const dsdtAt = place(table('DSDT', 2, dsdt(config)));
  const fadtAt = place(fadt(facsAt, dsdtAt, config.screen ?? false), FADT_POINTERS);
  const madtAt = place(table('APIC', 5, madt(config.apicIds)));
  const listed = [fadtAt, madtAt];
  const xsdtAt = place(
    table('XSDT', 1, addresses(listed)),
    listed.map((_, i) => ({ at: HEADER + 8 * i, size: 8 })),
  );
  return { bytes: Buffer.concat(parts), pointers, checksums, rsdp: rsdp(xsdtAt) };
}

/** All tables for address base; the RSDP comes first. */
export function acpiTables(base: number, config: AcpiConfig): Buffer {
  assert(base % ALIGN === 0, 'ACPI tables are aligned for the FACS');
  const { bytes, pointers, checksums, rsdp: root } = relocatableTables(config);
  const start = base + ALIGN;
  const move = (b: Buffer, at: number) => b.writeUInt32LE(b.readUInt32LE(at) + start, at);
  for (const { at } of pointers) move(bytes, at);
  for (const c of checksums) bytes[c.at] += checksum(bytes.subarray(c.start, c.start + c.length));
  move(root, RSDP.XSDT);
  root[RSDP.CHECKSUM] = checksum(root.subarray(0, RSDP.CHECKED));
  root[RSDP.CHECKSUM_ALL] = checksum(root);
  return Buffer.concat([root, Buffer.alloc(ALIGN - RSDP.SIZE), bytes]);
}

function checksum(b: Buffer): number {
  return (256 - (b.reduce((sum, byte) => sum + byte, 0) & 0xff)) & 0xff;
}

function table(signature: string, revision: number, body: Buffer): Buffer {
  const b = Buffer.alloc(HEADER + body.length);
  b.write(signature, 0, 'latin1');
  b.writeUInt32LE(b.length, 4);
  b[8] = revision;
  b.write('COLO  COLOPC  ', 10, 'latin1');
  b.writeUInt32LE(1, 24);
  b.write('COLO', 28, 'latin1');
  b.writeUInt32LE(1, 32);
  body.copy(b, HEADER);
  b[CHECKSUM] = checksum(b);
  return b;
}

function rsdp(xsdt: number): Buffer {
  const b = Buffer.alloc(RSDP.SIZE);
  b.write('RSD PTR ', 0, 'latin1');
  b.write('COLO  ', 9, 'latin1');
  b[15] = 2;
  b.writeUInt32LE(RSDP.SIZE, 20);
  b.writeUInt32LE(xsdt, RSDP.XSDT);
  return b;
}

function addresses(list: number[]): Buffer {
  const b = Buffer.alloc(8 * list.length);
  list.forEach((address, i) => b.writeUInt32LE(address, 8 * i));
  return b;
}

function facs(): Buffer {
  const b = Buffer.alloc(FACS_SIZE);
  b.write('FACS', 0, 'latin1');
  b.writeUInt32LE(FACS_SIZE, 4);
  b[32] = 2;
  return b;
}

/** Offsets in this function are those of table 5-33, counted from the start of the table. */
function fadt(facsAt: number, dsdtAt: number, screen: boolean): Buffer {
  const b = Buffer.alloc(276);
  b.writeUInt32LE(facsAt, 36);
  b.writeUInt32LE(dsdtAt, 40);
  b.writeUInt16LE(PM.SCI, 46);
  b.writeUInt32LE(PM.BASE, 56);
  b.writeUInt32LE(PM.BASE + PM.CONTROL, 64);
  b.writeUInt32LE(PM.BASE + PM.TIMER, 76);
  b[88] = 4;
  b[89] = 2;
  b[91] = 4;
  b.writeUInt16LE(101, 96); // beyond 100 us: no C2
  b.writeUInt16LE(1001, 98); // beyond 1000 us: no C3
  b[108] = RTC_CENTURY;
  b.writeUInt16LE(BootArch.LEGACY + (screen ? BootArch.I8042 : BootArch.NO_VGA), 109);
  b.writeUInt32LE(FADT_FLAGS, 112);
  ioRegister(b, 116, RESET_PORT, 8, 1);
  b[128] = RESET_VALUE;
  b[131] = 3;
  b.writeUInt32LE(dsdtAt, 140);
  ioRegister(b, 148, PM.BASE, 32, 2);
  ioRegister(b, 172, PM.BASE + PM.CONTROL, 16, 2);
  ioRegister(b, 208, PM.BASE + PM.TIMER, 32, 3);
  return table('FACP', 6, b.subarray(HEADER));
}

/** A generic address structure in I/O space; access: 1 byte, 2 word, 3 dword. */
function ioRegister(b: Buffer, at: number, port: number, bits: number, access: number): void {
  b[at] = 1;
  b[at + 1] = bits;
  b[at + 3] = access;
  b.writeUInt32LE(port, at + 4);
}

/**
 * Interrupt controllers (section 5.2.12): LAPICs, one IOAPIC, IRQ 0 on pin 2, the SCI as level and
 * active high, NMI on LINT1.
 */
function madt(apicIds: readonly number[]): Buffer {
  const head = Buffer.alloc(8);
  head.writeUInt32LE(LAPIC_BASE, 0);
  head.writeUInt32LE(1, 4); // there is a pair of 8259s
  const lapics = apicIds.map((id, processor) => Buffer.of(0, 8, processor, id, 1, 0, 0, 0));
  const ioapic = Buffer.alloc(12);
  ioapic.set([1, 12, 0, 0]);
  ioapic.writeUInt32LE(IOAPIC_BASE, 4);
  const override = (irq: number, gsi: number, flags: number) =>
    Buffer.of(2, 10, 0, irq, gsi, 0, 0, 0, flags, 0);
  const nmi = Buffer.of(4, 6, 0xff, 0, 0, 1);
  return Buffer.concat([
    head,
    ...lapics,
    ioapic,
    override(0, 2, 0),
    override(PM.SCI, PM.SCI, 0x0d),
    nmi,
  ]);
}

/** A package of _PRT (section 6.2.13). */
function routes(slots: number, to: (slot: number, pin: number) => number): Buffer {
  const list: Buffer[] = [];
  for (let slot = 1; slot < slots; slot++) {
    for (let pin = 0; pin < 4; pin++) {
      const address = amlInteger(slot * 0x10000 + 0xffff);
      list.push(pack(address, amlInteger(pin), amlInteger(0), amlInteger(to(slot, pin))));
    }
  }
  return pack(...list);
}

/** A system tells by _PIC (section 5.8.1) that it uses the IOAPIC; until then it is the 8259s. */
function dsdt(config: AcpiConfig): Buffer {
  const { intx, pciSlots } = config;
  const pci = device(
    'PCI0',
    named('_HID', eisaId('PNP0A03')),
    named('_ADR', amlInteger(0)),
    named('_UID', amlInteger(0)),
    named(
      '_CRS',
      resources(
        busRange(0, 0),
        ioPorts(0xcf8, 8),
        ioRange(0, 0xcf7),
        ioRange(0xd00, 0xffff),
        memoryRange(config.pciHole.first, config.pciHole.last),
      ),
    ),
    named('PRTA', routes(pciSlots, intx.ioapic)),
    named('PRTP', routes(pciSlots, intx.pic)),
    method('_PRT', 0, whenSet('PICF', returned('PRTA')), returned('PRTP')),
  );
  const rtc = device(
    'RTC0',
    named('_HID', eisaId('PNP0B00')),
    named('_CRS', resources(ioPorts(0x70, 2), isaIrq(8))),
  );
  const desk = [
    device(
      'KBD0',
      named('_HID', eisaId('PNP0303')),
      named('_CRS', resources(ioPorts(0x60, 1), ioPorts(0x64, 1), isaIrq(1))),
    ),
    device('MOU0', named('_HID', eisaId('PNP0F13')), named('_CRS', resources(isaIrq(12)))),
  ];
  const uarts = config.serials.map(({ base, irq }, i) =>
    device(
      `COM${i + 1}`,
      named('_HID', eisaId('PNP0501')),
      named('_UID', amlInteger(i + 1)),
      named('_DDN', amlText(`COM${i + 1}`)),
      named('_CRS', resources(ioPorts(base, 8), isaIrq(irq))),
    ),
  );
  return Buffer.concat([
    named('PICF', amlInteger(0)),
    method('_PIC', 1, storeArgument('PICF')),
    scope('\\_SB_', pci, rtc, ...uarts, ...(config.screen ? desk : [])),
    named(
      '\\_S5_',
      pack(amlInteger(PM.S5_TYPE), amlInteger(PM.S5_TYPE), amlInteger(0), amlInteger(0)),
    ),
  ]);
}
