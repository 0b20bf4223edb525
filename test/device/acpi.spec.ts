/**
 * Power management registers, reset ways, and the tables: checksums, lengths and links, read as a
 * guest would.
 */
import { beforeEach, describe, expect, test } from '@jest/globals';
import { AcpiPm } from '../../src/hw/acpi/pm.js';
import { acpiTables } from '../../src/hw/acpi/tables.js';
import { I8042 } from '../../src/hw/isa/i8042.js';
import { SystemControl } from '../../src/hw/isa/system-control.js';
import { PCI_HOLE, PciBus } from '../../src/hw/pci/bus.js';
import { HostBridge } from '../../src/hw/pci/host.js';
import { intxGsi, intxIrq } from '../../src/hw/pci/pirq.js';
import { Bench } from '../support/device-bench.js';

let bench: Bench;
let pm: AcpiPm;

beforeEach(() => {
  bench = new Bench();
  pm = new AcpiPm('acpi-pm', bench.irqs.line(9), bench.clock, bench.powerControl);
  pm.attach(bench.bus.ports);
  pm.resume();
});

describe('power management', () => {
  test('the timer counts 3.579545 MHz of guest time', () => {
    expect(bench.vm.in(0x608, 4)).toBe(0);
    bench.host.advance(1000);
    expect(bench.vm.in(0x608, 4)).toBe(3_579_545);
  });

  test('its overflow is a status bit and, when enabled, an SCI', () => {
    bench.vm.out(0x602, 0x0001, 2);
    const halfMs = 2 ** 31 / 3_579.545;
    bench.host.advance(halfMs - 1);
    expect(bench.level(9)).toBe(false);
    bench.host.advance(2);
    expect(bench.level(9)).toBe(true);
    expect(bench.vm.in(0x600, 2)).toBe(0x0001);
    bench.vm.out(0x600, 0x0001, 2);
    expect(bench.level(9)).toBe(false);
  });

  test('the power button raises the SCI for a guest that listens', () => {
    expect(pm.pressPowerButton()).toBe(false);
    bench.vm.out(0x600, 0x0100, 2);
    bench.vm.out(0x602, 0x0100, 2);
    expect(pm.pressPowerButton()).toBe(true);
    expect(bench.level(9)).toBe(true);
    expect(bench.vm.in(0x600, 4)).toBe(0x0100_0100);
  });

  test('S5 switches off; other sleep types do nothing; SLP_EN reads as zero', () => {
    expect(bench.vm.in(0x604, 2)).toBe(1);
    bench.vm.out(0x604, 0x2000 | (1 << 10), 2);
    expect(bench.power).toEqual([]);
    bench.vm.out(0x604, 0x2000 | (5 << 10), 2);
    expect(bench.power).toEqual(['off']);
    expect(bench.vm.in(0x604, 2) & 0x2000).toBe(0);
  });
});

test('four ways to reset', () => {
  const line = { set: () => undefined };
  new I8042('i8042', bench.powerControl, { keyboard: line, mouse: line }).attach(bench.bus.ports);
  new SystemControl('port92', bench.powerControl).attach(bench.bus.ports);
  const pci = new PciBus(bench.bus.ports, bench.bus.mmio, bench.irqs);
  new HostBridge('pci-host', pci, bench.powerControl, bench.vm.ram).attach(
    bench.bus.ports,
    bench.bus.mmio,
  );
  expect(bench.vm.in(0x64) & 0x03).toBe(0); // nothing to read, ready for a command
  bench.vm.out(0x64, 0xfe);
  bench.vm.out(0x92, 0x01);
  bench.vm.out(0xcf9, 0x02);
  bench.vm.out(0xcf9, 0x06);
  expect(bench.power).toEqual([
    'reset: keyboard controller',
    'reset: port 0x92',
    'reset: port 0xcf9',
  ]);
  bench.vm.out(0x80, 0x42);
  expect(bench.vm.in(0x80)).toBe(0x42);
});

describe('tables', () => {
  const BASE = 0xe0000;
  const blob = acpiTables(BASE, {
    apicIds: [0, 1],
    serials: [{ base: 0x3f8, irq: 4 }],
    intx: { ioapic: intxGsi, pic: intxIrq },
    pciSlots: 32,
    pciHole: PCI_HOLE,
  });
  const at = (address: number) => blob.subarray(address - BASE);
  const table = (address: number) => at(address).subarray(0, at(address).readUInt32LE(4));
  const sum = (b: Buffer) => b.reduce((s, x) => s + x, 0) & 0xff;
  const xsdt = table(at(BASE).readUInt32LE(24));
  const entries = Array.from({ length: (xsdt.length - 36) / 8 }, (_, i) =>
    table(xsdt.readUInt32LE(36 + 8 * i)),
  );
  const named = (signature: string) => entries.find(t => t.toString('latin1', 0, 4) === signature)!;

  test('RSDP and every checksum', () => {
    expect(blob.toString('latin1', 0, 8)).toBe('RSD PTR ');
    expect(sum(blob.subarray(0, 20))).toBe(0);
    expect(sum(blob.subarray(0, 36))).toBe(0);
    for (const t of [xsdt, ...entries, table(named('FACP').readUInt32LE(40))])
      expect(sum(t)).toBe(0);
  });

  test('FADT leads to DSDT and FACS, and names the registers', () => {
    const fadt = named('FACP');
    expect(fadt.length).toBe(276);
    expect(table(fadt.readUInt32LE(40)).toString('latin1', 0, 4)).toBe('DSDT');
    expect(at(fadt.readUInt32LE(36)).toString('latin1', 0, 4)).toBe('FACS');
    expect(fadt.readUInt32LE(36) % 64).toBe(0);
    expect([fadt.readUInt32LE(56), fadt.readUInt32LE(64), fadt.readUInt32LE(76)]).toEqual([
      0x600, 0x604, 0x608,
    ]);
    expect([fadt.readUInt32LE(120), fadt[128]]).toEqual([0xcf9, 0x06]);
  });

  test('MADT: a LAPIC per CPU, the IOAPIC, IRQ 0 on pin 2, the SCI as a level', () => {
    const madt = named('APIC');
    const kinds: number[] = [];
    for (let i = 44; i < madt.length; i += madt[i + 1]) kinds.push(madt[i]);
    expect(kinds).toEqual([0, 0, 1, 2, 2, 4]);
  });

  test('DSDT: pins lead to the IOAPIC once _PIC has said so, and to the 8259s before', () => {
    const dsdt = table(named('FACP').readUInt32LE(40));
    const after = (name: string, length: number) => {
      const at = dsdt.indexOf(name) + name.length;
      return dsdt.subarray(at, at + length);
    };
    expect(after('_PIC', 7).toString('latin1')).toBe('\x01\x70\x68PICF');
    expect(after('_PRT', 17).toString('latin1')).toBe('\x00\xa0\x0aPICF\xa4PRTA\xa4PRTP');
    /** The entry of pin A of slot 2; 0xa means a byte follows. */
    const entry = (to: number) => Buffer.from([0x0c, 0xff, 0xff, 2, 0, 0, 0, 0x0a, to]);
    expect(after('PRTA', 100).includes(entry(18))).toBe(true);
    expect(after('PRTP', 100).includes(entry(10))).toBe(true);
  });
});
