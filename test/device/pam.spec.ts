/**
 * Goal: the PAM registers rule what processors see below 1 MiB, also after a load, and the ROM is
 * where a processor begins. Method: the map as data for each kind of segment; the host bridge with
 * a RAM that remembers its map.
 */
import { beforeEach, describe, expect, test } from '@jest/globals';
import { HostBridge } from '../../src/hw/pci/host.js';
import { memoryMap, PAM_ALL_RAM } from '../../src/hw/pci/pam.js';
import { PciBus } from '../../src/hw/pci/bus.js';
import { Bench } from '../support/device-bench.js';
import { FakeRam } from '../support/fake-ram.js';

const MIB = 1 << 20;
const GIB = 2 ** 30;
const KIB = 1024;

/** Whose memory the byte at gpa is: an offset in RAM, in the ROM, or a device's. */
function seen(pam: readonly number[], gpa: number, ram = 64 * MIB, rom = 256 * KIB): string {
  const hits = memoryMap(Uint8Array.from(pam), ram, rom).filter(
    m => gpa >= m.gpa && gpa < m.gpa + m.size,
  );
  expect(hits.length).toBeLessThan(2);
  if (hits.length === 0) return 'device';
  const [{ gpa: base, offset, readOnly }] = hits;
  const at = offset + gpa - base;
  const where = at < ram ? `ram ${at.toString(16)}` : `rom ${(at - ram).toString(16)}`;
  return readOnly ? `${where} ro` : where;
}

const NONE = [0, 0, 0, 0, 0, 0, 0];

describe('the map', () => {
  test('at power-on: the ROM below 4 GiB, and its end below 1 MiB', () => {
    expect(seen(NONE, 0xffff_fff0)).toBe('rom 3fff0 ro');
    expect(seen(NONE, 4 * GIB - 256 * KIB)).toBe('rom 0 ro');
    expect(seen(NONE, 0xffff0)).toBe('rom 3fff0 ro');
    expect(seen(NONE, 0xe0000)).toBe('rom 20000 ro');
    expect(seen(NONE, 0xdffff)).toBe('device');
    expect(seen(NONE, 0xa0000)).toBe('device');
    expect(seen(NONE, 0x9ffff)).toBe('ram 9ffff');
    expect(seen(NONE, 0x100000)).toBe('ram 100000');
    expect(seen(NONE, 0xfff00, 64 * MIB, 64 * KIB)).toBe('rom ff00 ro');
    expect(seen(NONE, 0xeff00, 64 * MIB, 64 * KIB)).toBe('device');
  });

  test('each segment has its bits', () => {
    const pam = [0x10, 0x21, 0x03, 0, 0, 0, 0x30];
    expect(seen(pam, 0xf0000)).toBe('ram f0000 ro');
    expect(seen(pam, 0xc0000)).toBe('ram c0000 ro');
    expect(seen(pam, 0xc4000)).toBe('device'); // writes alone go to RAM
    expect(seen(pam, 0xc8000)).toBe('ram c8000');
    expect(seen(pam, 0xcc000)).toBe('device');
    expect(seen(pam, 0xe8000)).toBe('rom 28000 ro');
    expect(seen(pam, 0xec000)).toBe('ram ec000');
  });

  test('all of it RAM is one range; a large machine goes on at 4 GiB', () => {
    const map = memoryMap(Uint8Array.from(PAM_ALL_RAM), 5 * GIB, 0);
    expect(map.filter(m => m.gpa >= 0xc0000 && m.gpa < MIB)).toEqual([
      { gpa: 0xc0000, size: 0x40000, offset: 0xc0000, readOnly: false },
    ]);
    expect(map).toContainEqual({
      gpa: 4 * GIB,
      size: 2 * GIB,
      offset: 3 * GIB,
      readOnly: false,
    });
  });

  test('no registers make more ranges than there may be', () => {
    for (const odd of [0x10, 0x01, 0x31, 0x13])
      expect(memoryMap(new Uint8Array(7).fill(odd), 5 * GIB, 256 * KIB).length).toBeLessThan(32);
  });
});

describe('the host bridge', () => {
  let bench: Bench;
  let ram: FakeRam;
  let bridge: HostBridge;
  beforeEach(() => {
    ram = new FakeRam(4 * MIB);
    bench = new Bench(ram);
    const pci = new PciBus(bench.bus.ports, bench.bus.mmio, bench.irqs);
    bridge = new HostBridge('pci-host', pci, bench.powerControl, ram);
    pci.plug(bridge, 0);
    bridge.attach(bench.bus.ports, bench.bus.mmio);
  });
  const config = (register: number, value: number) => {
    bench.vm.out(0xcf8, 0x8000_0000 + (register & ~3), 4);
    bench.vm.out(0xcfc + (register & 3), value);
    return bench.vm.in(0xcfc + (register & 3));
  };
  const at = (gpa: number) => ram.map.find(m => gpa >= m.gpa && gpa < m.gpa + m.size);

  test('a write of a register is seen, a reset and a load too; other bits do not exist', () => {
    expect(at(0xf0000)).toBe(undefined);
    expect(config(0x59, 0xff)).toBe(0x30);
    expect(config(0x5a, 0xff)).toBe(0x33);
    expect(at(0xf0000)?.readOnly).toBe(false);
    const saved = bridge.vmstate.save(bridge.state);
    bridge.reset();
    expect([at(0xf0000), at(0xc0000)]).toEqual([undefined, undefined]);
    bridge.state = bridge.vmstate.parse(saved, bridge.vmstate.version);
    bridge.afterLoad();
    expect([at(0xf0000)?.readOnly, at(0xc0000)?.readOnly]).toEqual([false, false]);
  });

  test('RAM takes writes where only those are its own, and nowhere else', () => {
    config(0x5a, 0x02);
    bench.vm.store(0xc0010, 0x1234_5678n, 4);
    expect(ram.readU32(0xc0010)).toBe(0x1234_5678);
    expect(bench.vm.load(0xc0010, 4)).toBe(0xffff_ffffn);
    bench.vm.store(0xc4010, 0x55n, 1);
    bench.vm.store(0xf0000, 0x55n, 1);
    expect([ram.readU8(0xc4010), ram.readU8(0xf0000)]).toEqual([0, 0]);
  });
});
