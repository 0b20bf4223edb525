/**
 * Goal: a function's pin reaches its IOAPIC pin and, by the routing registers of the PIIX3, the
 * 8259s, as a level that several functions share; tables and registers say where it leads. Method:
 * functions with nothing but a pin on a bus without CPUs; a whole board for what is left by a
 * reset; a native machine for the ELCR.
 */
import { beforeEach, describe, expect, test } from '@jest/globals';
import { AddonRam } from '../../src/accel/ram.js';
import { AddonVm } from '../../src/accel/vm.js';
import { vmstate } from '../../src/fields/vmstate.js';
import { Piix3 } from '../../src/hw/isa/piix3.js';
import { PciBus } from '../../src/hw/pci/bus.js';
import { configField, ConfigLayout } from '../../src/hw/pci/config-space.js';
import { PciFunction } from '../../src/hw/pci/function.js';
import { Bench } from '../support/device-bench.js';
import { FullBoard } from '../support/full-board.js';

const pinState = vmstate('pin', 1, { config: configField });

class Pin extends PciFunction<ReturnType<typeof pinState.reset>> {
  readonly vmstate = pinState;
  state = pinState.reset();
  readonly description = 'a pin';
  readonly bars = [];
  readonly layout: ConfigLayout;

  constructor(id: string, interruptPin: number) {
    super(id);
    const known = { vendor: 1, device: 1, revision: 0, classCode: 0 };
    this.layout = new ConfigLayout({ ...known, subsystemVendor: 0, subsystem: 0, interruptPin });
  }
  set(level: boolean): void {
    this.setIntx(level);
  }
}

const PIRQRC = 0x60;
let bench: Bench;
let pci: PciBus;
let bridge: Piix3;

beforeEach(() => {
  bench = new Bench();
  pci = new PciBus(bench.bus.ports, bench.bus.mmio, bench.irqs);
  bridge = new Piix3('piix3', pci.pirqs);
});

/** With pin A to D (1 to 4). */
function plug(slot: number, interruptPin: number): Pin {
  const fn = new Pin(`pin${slot}`, interruptPin);
  pci.plug(fn, slot);
  return fn;
}
const route = (pirq: number, value: number) => bridge.configWrite(PIRQRC + pirq, 1, value);
const high = () =>
  [...bench.vm.levels]
    .filter(([, level]) => level)
    .map(([gsi]) => gsi)
    .sort((a, b) => a - b);

describe('with a PIIX3', () => {
  beforeEach(() => pci.plug(bridge, 1));

  test('after a reset nothing is routed; the IOAPIC has its pin', () => {
    const fn = plug(2, 1);
    expect(bridge.configRead(PIRQRC, 4)).toBe(0x8080_8080);
    fn.set(true);
    expect(high()).toEqual([18]);
    fn.set(false);
    expect(high()).toEqual([]);
  });

  // Pin A of slot 1 is PIRQA, and each slot is one line on.
  test.each([
    [2, 1, 1],
    [2, 4, 0],
    [3, 1, 2],
    [4, 1, 3],
    [5, 1, 0],
    [31, 2, 3],
  ])('slot %i pin %i leads to PIRQ %i', (slot, pin, pirq) => {
    const fn = plug(slot, pin);
    fn.set(true);
    for (let n = 0; n < 4; n++) route(n, [3, 5, 7, 12][n]);
    const ioapic = 16 + ((slot + pin - 1) % 8);
    expect(high()).toEqual([[3, 5, 7, 12][pirq], ioapic]);
  });

  test('a register moves a line that is high, and what is not for PCI is no way', () => {
    plug(2, 1).set(true);
    route(1, 11);
    expect(high()).toEqual([11, 18]);
    route(1, 5);
    expect(high()).toEqual([5, 18]);
    for (const none of [0, 1, 2, 8, 13, 0x85]) {
      route(1, none);
      expect(high()).toEqual([18]);
    }
    route(1, 0xff & ~0x80);
    expect([high(), bridge.configRead(PIRQRC + 1, 1)]).toEqual([[15, 18], 0x0f]);
  });

  test('one input is shared by lines, functions and a chip of the board', () => {
    const [a, b, c] = [plug(2, 1), plug(6, 1), plug(3, 1)];
    const isa = bench.irqs.line(10);
    route(1, 10);
    route(2, 10);
    for (const fn of [a, b, c]) fn.set(true);
    isa.set(true);
    const left = [() => a.set(false), () => isa.set(false), () => c.set(false)];
    for (const lower of left) {
      lower();
      expect(bench.level(10)).toBe(true);
    }
    b.set(false);
    expect(high()).toEqual([]);
  });

  test('a function that may not interrupt does not', () => {
    const fn = plug(2, 1);
    route(1, 10);
    fn.set(true);
    fn.configWrite(4, 2, 0x0400);
    expect(high()).toEqual([]);
  });

  test('a reset of the machine ends it, and a checkpoint has it', () => {
    const fn = plug(2, 1);
    route(1, 10);
    fn.set(true);
    const state = bridge.vmstate.save(bridge.state);
    bridge.reset();
    expect(high()).toEqual([18]);
    bridge.state = bridge.vmstate.parse(state, bridge.vmstate.version);
    bridge.afterLoad();
    expect(high()).toEqual([10, 18]);
  });

  test('firmware routes, and says in each function where its pin leads', () => {
    const [a, b] = [plug(2, 1), plug(3, 1)];
    pci.firmwareSetup();
    expect(bridge.configRead(PIRQRC, 4)).toBe(0x0b0b_0a0a);
    expect([a, b].map(fn => fn.configRead(0x3c, 1))).toEqual([10, 11]);
    a.set(true);
    b.set(true);
    expect(high()).toEqual([10, 11, 18, 19]);
  });
});

test('without a PIIX3 the lines are wired to where firmware says they lead', () => {
  const fn = plug(2, 3);
  pci.firmwareSetup();
  expect(fn.configRead(0x3c, 1)).toBe(11);
  fn.set(true);
  expect(high()).toEqual([11, 20]);
});

test('firmware that finds a PIIX3 sets the ELCR itself; otherwise it is set', () => {
  const { board, vm } = new FullBoard();
  expect(vm.levelIrqs).toEqual([10, 11]);
  vm.reset();
  board.reset({ firmware: true });
  expect(vm.levelIrqs).toEqual([]);
});

test('the 8259s take those inputs as levels', () => {
  const vm = new AddonVm(new AddonRam(1 << 20));
  const before = vm.chips.save();
  vm.setLevelIrqs([3, 10, 11]);
  const after = vm.chips.save();
  // Of the two chips; what follows has times in it.
  const changed = [...after.subarray(0, 1048).keys()].filter(at => after[at] !== before[at]);
  expect(changed.map(at => [at, after[at]])).toEqual([
    [30, 0x08],
    [550, 0x0c],
  ]);
  vm.dispose();
});
