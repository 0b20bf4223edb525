/**
 * An Intel 82540EM (PCI/PCI-X Family of Gigabit Ethernet Controllers, Software Developer's Manual):
 * a network card that most guests have a driver for. Its interrupts are not held back: delays and
 * ITR are kept, and nothing waits for them. Frames wait in the guest's ring, or in the netdev. In
 * one turn of the main loop it handles no more than VIRTIO_TURN, both ways together.
 */
import type { GuestMemory } from '../../../accel/contract.js';
import { and32, lowBytes, or32, without32 } from '../../../base/unsigned.js';
import type { Netdev, NicPort } from '../../../net/contract.js';
import { ContainedMmio, ContainedPorts, fromOutside, outside } from '../../contain.js';
import { ConfigLayout } from '../../pci/config-space.js';
import { type Bar, PciFunction } from '../../pci/function.js';
import { Turn, VIRTIO_TURN } from '../../turn.js';
import { containedClock, type GuestClock } from '../../wiring.js';
import { eepromWords, readEecd, readEerd, writeEecd, writeEerd } from './eeprom.js';
import { restorePhy, writeMdic } from './phy.js';
import { cardAddress, setCardAddress, TABLE_BYTES } from './receive-filter.js';
import { Receiver } from './receiver.js';
import {
  CAUSES,
  E1000Cause,
  E1000Control,
  E1000Reg,
  E1000Rx,
  keptAt,
  keptRegisters,
  STATUS_VALUE,
} from './registers.js';
import { e1000State, type E1000State } from './state.js';
import { COUNTERS, readCounter } from './statistics.js';
import { Transmitter } from './transmitter.js';

const PORTS = 64;
const Port = { ADDRESS: 0, DATA: 4 } as const;

export class E1000 extends PciFunction<E1000State> implements NicPort {
  readonly vmstate = e1000State;
  state = e1000State.reset();
  readonly description = 'Ethernet controller';
  readonly layout = new ConfigLayout({
    vendor: 0x8086,
    device: 0x100e,
    revision: 3,
    classCode: 0x020000,
    subsystemVendor: 0x1af4,
    subsystem: 0x1100,
    interruptPin: 1,
  });
  readonly bars: readonly Bar[];
  private readonly words: Uint16Array;
  private readonly turn: Turn;
  private readonly transmitter: Transmitter;
  private readonly receiver: Receiver;
  private paused = true;

  /** label: the address that its EEPROM has. */
  constructor(
    id: string,
    ram: GuestMemory,
    clock: GuestClock,
    private readonly netdev: Netdev,
    private readonly label: Uint8Array,
  ) {
    super(id);
    this.words = eepromWords(label);
    this.layout.memoryBar(0, E1000Reg.END);
    this.layout.ioBar(1, PORTS);
    this.bars = [
      {
        index: 0,
        size: E1000Reg.END,
        name: `${id} registers`,
        handler: new ContainedMmio(this, this),
      },
      { index: 1, size: PORTS, name: id, widest: 4, ports: new ContainedPorts(this, this) },
    ];
    const own = containedClock(this, clock);
    this.turn = new Turn(
      VIRTIO_TURN,
      fn => own.soon(fn),
      () => this.goOn(),
    );
    this.transmitter = new Transmitter({ ram, turn: this.turn, send: frame => this.send(frame) });
    this.receiver = new Receiver({ ram, turn: this.turn });
    netdev.attachNic(this);
    netdev.onRoom(this.guarded(() => this.hasRoom()));
  }

  // --- Device

  override reset(): void {
    super.reset();
    setCardAddress(this.state.filter, this.label);
    this.stopWork();
  }

  override afterLoad(): void {
    restorePhy(this.state.phy);
    super.afterLoad();
    this.updateIrq();
  }

  override async pause(): Promise<void> {
    this.paused = true;
    this.turn.end();
    outside(() => this.netdev.setRunning(false));
  }

  override resume(): void {
    this.paused = false;
    this.transmitter.blocked = false;
    outside(() => this.netdev.setRunning(true));
    this.turn.again();
  }

  // --- NicPort

  get mac(): Uint8Array {
    return cardAddress(this.state.filter);
  }

  /** A driver of this card is not told; the netdev's own announcement is all there is. */
  announce(): void {}

  receive(frame: Uint8Array): boolean {
    if (this.paused) return false;
    if (this.silent) return true;
    try {
      return this.take(frame);
    } catch (error) {
      this.broke(error);
      return true;
    }
  }

  // --- registers

  /** They are of 32 bits; of a narrower read the bytes are given. */
  mmioRead(offset: number, size: number): number {
    const value = this.readRegister(offset - (offset % 4));
    return lowBytes(Math.floor(value / 2 ** (8 * (offset % 4))), size);
  }

  /** Narrower writes do nothing. */
  mmioWrite(offset: number, size: number, value: number): void {
    if (size === 4 && offset % 4 === 0) this.writeRegister(offset, value);
  }

  pioRead(offset: number, size: number): number {
    if (size !== 4) return 0;
    if (offset === Port.ADDRESS) return this.state.ioAddress;
    return offset === Port.DATA ? this.readRegister(this.state.ioAddress) : 0;
  }

  pioWrite(offset: number, size: number, value: number): void {
    if (size !== 4) return;
    if (offset === Port.ADDRESS) this.state.ioAddress = and32(value, E1000Reg.END - 4);
    else if (offset === Port.DATA) this.writeRegister(this.state.ioAddress, value);
  }

  private readRegister(at: number): number {
    const { state: s } = this;
    const name = keptAt.get(at);
    if (name) return s[name];
    switch (at) {
      case E1000Reg.STATUS:
        return STATUS_VALUE;
      case E1000Reg.EECD:
        return readEecd(s.eeprom);
      case E1000Reg.EERD:
        return readEerd(s.eeprom, this.words);
      case E1000Reg.MDIC:
        return s.phy.mdic;
      case E1000Reg.ICR:
        return this.takeCauses();
      case E1000Reg.IMS:
        return s.ims;
      default:
        break;
    }
    const counter = (at - E1000Reg.STATISTICS) / 4;
    if (counter >= 0 && counter < COUNTERS) return readCounter(s.statistics, counter);
    const table = this.tableAt(at);
    return table ? table.bytes.readUInt32LE(table.offset) : 0;
  }

  private writeRegister(at: number, value: number): void {
    const { state: s } = this;
    const name = keptAt.get(at);
    if (name) {
      s[name] = and32(value, keptRegisters[name].mask);
      return this.written(at, value);
    }
    switch (at) {
      case E1000Reg.EECD:
        return writeEecd(s.eeprom, value, this.words);
      case E1000Reg.EERD:
        return writeEerd(s.eeprom, value);
      case E1000Reg.MDIC:
        return this.askPhy(value);
      case E1000Reg.ICR:
        s.icr = without32(s.icr, value);
        return this.updateIrq();
      case E1000Reg.ICS:
        return this.cause(value);
      case E1000Reg.IMS:
        s.ims = and32(or32(s.ims, value), CAUSES);
        return this.updateIrq();
      case E1000Reg.IMC:
        s.ims = without32(s.ims, value);
        return this.updateIrq();
      default:
        break;
    }
    const table = this.tableAt(at);
    table?.bytes.writeUInt32LE(lowBytes(value, 4), table.offset);
  }

  /** What writing a register does that is kept. */
  private written(at: number, value: number): void {
    switch (at) {
      case keptRegisters.ctrl.at:
        if ((value & E1000Control.RESET) !== 0) return this.resetMac();
        if ((value & E1000Control.PHY_RESET) !== 0) this.resetPhy();
        return;
      case keptRegisters.tctl.at:
      case keptRegisters.tdt.at:
        return this.transmit();
      case keptRegisters.rctl.at:
      case keptRegisters.rdt.at:
        return outside(() => this.netdev.nicReady());
      default:
        return;
    }
  }

  private tableAt(at: number): { bytes: Buffer; offset: number } | undefined {
    const { addresses, multicast, vlans } = this.state.filter;
    const within = (start: number, size: number) => at >= start && at < start + size;
    if (within(E1000Reg.MULTICAST, TABLE_BYTES.multicast))
      return { bytes: multicast, offset: at - E1000Reg.MULTICAST };
    if (within(E1000Reg.ADDRESSES, TABLE_BYTES.addresses))
      return { bytes: addresses, offset: at - E1000Reg.ADDRESSES };
    if (within(E1000Reg.VLANS, TABLE_BYTES.vlans))
      return { bytes: vlans, offset: at - E1000Reg.VLANS };
    return undefined;
  }

  /** Of all but the PCI function, its I/O window and the PHY. */
  private resetMac(): void {
    const { config, ioAddress, phy } = this.state;
    this.state = { ...e1000State.reset(), config, ioAddress, phy };
    setCardAddress(this.state.filter, this.label);
    this.stopWork();
    this.updateIrq();
  }

  private resetPhy(): void {
    this.state.phy = e1000State.reset().phy;
    this.cause(E1000Cause.LINK);
  }

  private askPhy(value: number): void {
    const { interrupt, linked } = writeMdic(this.state.phy, value);
    this.cause((interrupt ? E1000Cause.MDIO : 0) + (linked ? E1000Cause.LINK : 0));
  }

  // --- interrupts

  private cause(causes: number): void {
    const { state: s } = this;
    s.icr = and32(or32(s.icr, causes), CAUSES);
    this.updateIrq();
  }

  /** A read clears them. */
  private takeCauses(): number {
    const { icr } = this.state;
    this.state.icr = 0;
    this.updateIrq();
    return icr;
  }

  private updateIrq(): void {
    this.setIntx((this.state.icr & this.state.ims) !== 0);
  }

  // --- frames

  private stopWork(): void {
    this.turn.end();
    this.transmitter.blocked = false;
  }

  private transmit(): void {
    if (this.paused || !this.busMaster) return;
    const causes = this.transmitter.run(this.state);
    if (causes !== 0) this.cause(causes);
  }

  private send(frame: Buffer): boolean {
    if ((this.state.rctl & E1000Rx.LOOPBACK) !== 0) {
      this.take(frame);
      return true;
    }
    try {
      return this.netdev.send(frame);
    } catch (error) {
      throw fromOutside(error);
    }
  }

  private take(frame: Uint8Array): boolean {
    const result = this.busMaster ? this.receiver.take(this.state, frame) : 0;
    if (result === 'waits') return false;
    if (result !== 0) this.cause(result);
    return true;
  }

  private hasRoom(): void {
    this.transmitter.blocked = false;
    this.transmit();
  }

  /** In the next turn, with what was left lying. */
  private goOn(): void {
    outside(() => this.netdev.nicReady());
    this.transmit();
  }
}
