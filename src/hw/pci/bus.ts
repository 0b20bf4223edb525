/**
 * Bus 0: slots, and the placing of BARs. The guest may put BARs anywhere, also on top of each
 * other: mappings are a function of all functions' state, computed in slot order, and the later one
 * of two that collide does not decode.
 */
import { assert } from '../../base/errors.js';
import type { Disposable } from '../../base/disposable.js';
import { event, tracer } from '../../base/trace.js';
import type { IoPorts } from '../../memory/io-ports.js';
import type { MmioSpace } from '../../memory/mmio-space.js';
import type { IrqRouter } from '../wiring.js';
import { Cfg, PciCommand } from './config-space.js';
import type { PluggedFunction } from './function.js';
import { intxIrq, PirqRouter } from './pirq.js';

const trace = tracer('pci', {
  bar_mapped: event<{ id: string; index: number; address: number }>(),
  bar_collides: event<{ id: string; index: number; address: number }>(),
});

export const PCI_SLOTS = 32;
const FUNCTIONS = 8;
/**
 * Where firmware and guest may place memory BARs: below the IOAPIC, above the RAM that lies below 4
 * GiB.
 */
export const PCI_HOLE = { first: 0xc000_0000, last: 0xfebf_ffff } as const;
/** The parts of the hole that our own firmware step uses: for a card's memory, and for the rest. */
const LARGE_BASE = 0xfd00_0000;
const LARGE_BYTES = 0x0100_0000;
const FIRMWARE_BASE = 0xfe00_0000;
const FIRMWARE_IO_BASE = 0xc000;

/** A function without a pin has a line that it never drives. */
const pinOf = ({ interruptPin }: PluggedFunction) => Math.max(interruptPin - 1, 0);

interface Mapping {
  address: number;
  mapped: Disposable;
}

export class PciBus {
  readonly pirqs: PirqRouter;
  /** By slot, and in it by function. */
  private readonly places = new Array<PluggedFunction | undefined>(PCI_SLOTS * FUNCTIONS).fill(
    undefined,
  );
  private readonly mappings = new Map<string, Mapping>();
  private remapping = false;

  constructor(
    private readonly io: IoPorts,
    private readonly mmio: MmioSpace,
    irqs: IrqRouter,
  ) {
    this.pirqs = new PirqRouter(irqs);
  }

  plug(fn: PluggedFunction, slot = this.freeSlot(), functionNumber = 0): void {
    const place = slot * FUNCTIONS + functionNumber;
    assert(slot < PCI_SLOTS && this.places[place] === undefined, `PCI slot for ${fn.id}`);
    this.places[place] = fn;
    const intx = this.pirqs.line(slot, pinOf(fn));
    fn.plug({ slot, function: functionNumber, intx, remap: () => this.remap() });
  }

  at(slot: number, functionNumber = 0): PluggedFunction | undefined {
    return this.places[slot * FUNCTIONS + functionNumber];
  }

  functions(): PluggedFunction[] {
    return this.places.filter(fn => fn !== undefined);
  }

  /** The lowest from 1. */
  private freeSlot(): number {
    let slot = 1;
    while (this.at(slot)) slot++;
    return slot;
  }

  /**
   * Firmware's part after a reset: every BAR gets an address, what there is of memory and ports is
   * decoded, the interrupt line register says the input of the 8259s.
   */
  firmwareSetup(): void {
    let next = FIRMWARE_BASE;
    let nextPort = FIRMWARE_IO_BASE;
    for (const fn of this.functions()) {
      const [from, fromPort] = [next, nextPort];
      next = fn.contain(() => this.place(fn, from), from);
      nextPort = fn.contain(() => this.placePorts(fn, fromPort), fromPort);
      fn.contain(() => this.decode(fn), undefined);
    }
  }

  /** Returns where the next one's BARs may begin. */
  private place(fn: PluggedFunction, from: number): number {
    let next = from;
    for (const bar of fn.bars) {
      if ('ports' in bar) continue;
      if (bar.size >= LARGE_BYTES) {
        fn.configWrite(Cfg.BAR0 + 4 * bar.index, 4, LARGE_BASE);
        continue;
      }
      next = Math.ceil(next / bar.size) * bar.size;
      fn.configWrite(Cfg.BAR0 + 4 * bar.index, 4, next);
      next += bar.size;
    }
    return next;
  }

  private placePorts(fn: PluggedFunction, from: number): number {
    let next = from;
    for (const bar of fn.bars) {
      if (!('ports' in bar)) continue;
      next = Math.ceil(next / bar.size) * bar.size;
      fn.configWrite(Cfg.BAR0 + 4 * bar.index, 4, next);
      next += bar.size;
    }
    return next;
  }

  private decode(fn: PluggedFunction): void {
    const has = (ports: boolean) => fn.bars.some(bar => 'ports' in bar === ports);
    const io = has(true) ? PciCommand.IO : 0;
    fn.configWrite(Cfg.COMMAND, 2, io + (has(false) ? PciCommand.MEMORY : 0));
    if (fn.interruptPin !== 0) fn.configWrite(Cfg.INT_LINE, 1, intxIrq(fn.slotNumber, pinOf(fn)));
    fn.firmware();
  }

  /** What moved is unmapped before anything is mapped, so that two BARs may change places. */
  private remap(): void {
    if (this.remapping) return;
    this.remapping = true;
    try {
      for (const fn of this.functions()) {
        for (const bar of fn.bars) this.unmap(fn, bar.index, fn.barAddress(bar.index));
      }
      for (const fn of this.functions()) {
        for (const bar of fn.bars) this.map(fn, bar.index);
      }
    } finally {
      this.remapping = false;
    }
  }

  private unmap(fn: PluggedFunction, index: number, wanted: number | undefined): void {
    const key = `${fn.id}.${index}`;
    const mapping = this.mappings.get(key);
    if (!mapping || mapping.address === wanted) return;
    mapping.mapped.dispose();
    this.mappings.delete(key);
    fn.contain(() => fn.barMapped(index, undefined), undefined);
  }

  private map(fn: PluggedFunction, index: number): void {
    const key = `${fn.id}.${index}`;
    const address = fn.barAddress(index);
    const bar = fn.bars.find(b => b.index === index);
    if (address === undefined || !bar || this.mappings.has(key)) return;
    const mapped =
      'ports' in bar
        ? this.io.tryMap(bar.name, address, bar.size, bar.ports, bar.widest)
        : this.mmio.tryMap(bar.name, address, bar.size, bar.handler);
    if (!mapped) {
      trace.bar_collides?.({ id: fn.id, index, address });
      return;
    }
    trace.bar_mapped?.({ id: fn.id, index, address });
    this.mappings.set(key, { address, mapped });
    fn.contain(() => fn.barMapped(index, address), undefined);
  }
}
