/**
 * A PCI function: configuration space, BARs and the INTx pin. What is behind the BARs is the
 * subclass's.
 */
import { without32 } from '../../base/unsigned.js';
import type { MmioHandler, PioHandler } from '../../memory/contract.js';
import { Device, type IrqLine } from '../device.js';
import { Cfg, PciCommand, type ConfigLayout, PciStatus, ROM_ENABLE } from './config-space.js';

export interface PciState {
  config: Buffer;
}

/** What a function asks of its bus. */
export interface PciSlot {
  readonly slot: number;
  readonly function: number;
  readonly intx: IrqLine;
  /** A BAR or an enable bit changed. */
  remap(): void;
}

/** The ROM's register, counted from that of BAR 0. */
export const ROM_BAR = (Cfg.ROM - Cfg.BAR0) / 4;

/** Memory, or I/O ports. */
export type Bar = {
  /** 0 to 5, or ROM_BAR. */
  index: number;
  size: number;
  name: string;
} & ({ handler: MmioHandler } | PortBar);

/** widest: the widest access that the chip takes; 1 if it is not said. */
interface PortBar {
  ports: PioHandler;
  widest?: 1 | 2 | 4;
}

/** A function as its bus sees it. */
export interface PluggedFunction {
  readonly id: string;
  readonly bars: readonly Bar[];
  readonly description: string;
  readonly slotNumber: number;
  readonly functionNumber: number;
  /** 0 none, 1 to 4: A to D. */
  readonly interruptPin: number;
  plug(slot: PciSlot): void;
  barAddress(index: number): number | undefined;
  barMapped(index: number, address: number | undefined): void;
  /** What firmware does after a reset, beside the BARs. */
  firmware(): void;
  configRead(offset: number, size: number): number;
  configWrite(offset: number, size: number, value: number): void;
  contain<R>(fn: () => R, otherwise: R): R;
}

export abstract class PciFunction<T extends PciState = PciState>
  extends Device<T>
  implements PluggedFunction
{
  abstract readonly layout: ConfigLayout;
  abstract readonly bars: readonly Bar[];
  /** `info pci` words. */
  abstract readonly description: string;
  protected slot: PciSlot | undefined;
  private intxPending = false;

  /** Called once by the bus. */
  plug(slot: PciSlot): void {
    this.slot = slot;
    this.reset();
  }

  get slotNumber(): number {
    return this.slot?.slot ?? -1;
  }

  get functionNumber(): number {
    return this.slot?.function ?? 0;
  }

  get interruptPin(): number {
    return this.layout.identity[Cfg.INT_PIN];
  }

  override afterLoad(): void {
    this.layout.restore(this.state.config);
    this.updateIntx();
    this.slot?.remap();
  }

  configRead(offset: number, size: number): number {
    return this.state.config.readUIntLE(offset, size);
  }

  configWrite(offset: number, size: number, value: number): void {
    this.layout.write(this.state.config, offset, size, value);
    const bars = offset < Cfg.BAR0 + 24 && offset + size > Cfg.COMMAND;
    if (bars || (offset < Cfg.ROM + 4 && offset + size > Cfg.ROM)) {
      this.updateIntx();
      this.slot?.remap();
    }
  }

  get command(): number {
    return this.state.config.readUInt16LE(Cfg.COMMAND);
  }

  get busMaster(): boolean {
    return (this.command & PciCommand.MASTER) !== 0;
  }

  /**
   * Where the guest has put a BAR; undefined while its space is not decoded or the BAR was never
   * placed.
   */
  barAddress(index: number): number | undefined {
    const io = this.bars.some(bar => bar.index === index && 'ports' in bar);
    if ((this.command & (io ? PciCommand.IO : PciCommand.MEMORY)) === 0) return undefined;
    const register = this.state.config.readUInt32LE(Cfg.BAR0 + 4 * index);
    if (index === ROM_BAR && (register & ROM_ENABLE) === 0) return undefined;
    const at = without32(register, index === ROM_BAR ? 0x7ff : io ? 0x03 : 0x0f);
    return at === 0 ? undefined : at;
  }

  /** The bus decodes this BAR here now (undefined: nowhere). */
  barMapped(_index: number, _address: number | undefined): void {}

  firmware(): void {}

  /** Level of the INTx pin, before the guest's disable bit. */
  protected setIntx(pending: boolean): void {
    this.intxPending = pending;
    this.updateIntx();
  }

  private updateIntx(): void {
    const { config } = this.state;
    const status = config.readUInt16LE(Cfg.STATUS);
    const rest = without32(status, PciStatus.INTX);
    config.writeUInt16LE(this.intxPending ? rest + PciStatus.INTX : rest, Cfg.STATUS);
    this.slot?.intx.set(this.intxPending && (this.command & PciCommand.INTX_DISABLE) === 0);
  }
}
