/**
 * Host bridge at 00:00.0, like the i440FX (Intel 82441FX data sheet): configuration mechanism 1 at
 * 0xcf8/0xcfc, what of the memory below 1 MiB is RAM (pam.ts), and at 0xcf9 the reset control
 * register of its south bridge (82371SB data sheet, section 2.3.6).
 */
import { allOnes, and32 } from '../../base/unsigned.js';
import { u32, u8 } from '../../fields/field.js';
import { vmstate } from '../../fields/vmstate.js';
import type { Ram } from '../../accel/contract.js';
import type { MmioHandler } from '../../memory/contract.js';
import type { IoPorts } from '../../memory/io-ports.js';
import type { MmioSpace } from '../../memory/mmio-space.js';
import { ContainedMmio, ContainedPorts, outside } from '../contain.js';
import type { StateOf } from '../device.js';
import type { PowerControl } from '../power.js';
import type { PciBus } from './bus.js';
import { configField, ConfigLayout } from './config-space.js';
import { memoryMap, Pam, PAM, PAM_ALL_RAM, PAM_WRITABLE, pamOf, SHADOW } from './pam.js';
import { type Bar, PciFunction, type PluggedFunction } from './function.js';

const ADDRESS_PORT = 0xcf8;
const RESET_OFFSET = 1;
const DATA_OFFSET = 4;
const ENABLE = 0x8000_0000;
const ADDRESS_BITS = 0x80ff_fffc;
/** The bit that pulls the line reads as zero. */
const RESET_KEPT = 0x0a;
/** There is no system management mode: its RAM is never seen, its register is kept. */
const SMRAM = 0x72;
const SMRAM_INITIAL = 0x02;
const SMRAM_WRITABLE = 0x78;
const Reset = { HARD: 0x02, CPU: 0x04 } as const;

export const hostBridgeState = vmstate('i440fx', 2, {
  config: configField,
  address: u32.mask(ADDRESS_BITS),
  resetControl: u8.mask(RESET_KEPT),
});

export class HostBridge extends PciFunction<StateOf<typeof hostBridgeState>> {
  readonly vmstate = hostBridgeState;
  state = hostBridgeState.reset();
  readonly description = 'Host bridge';
  readonly bars: readonly Bar[] = [];
  /**
   * What of 0xc0000 to 0xfffff a CPU's access meets that memory does not answer: nothing, but that
   * RAM takes a write where only reads are from PCI.
   */
  private readonly shadowed: MmioHandler = {
    mmioRead: (_offset, size) => allOnes(size),
    mmioWrite: (offset, size, value) => {
      const gpa = SHADOW.first + offset;
      if (pamOf(this.pam, gpa) !== Pam.WRITE) return;
      const bytes = Buffer.alloc(4);
      bytes.writeUInt32LE(value);
      this.ram.write(gpa, bytes.subarray(0, size));
    },
  };
  readonly layout = new ConfigLayout({
    vendor: 0x8086,
    device: 0x1237,
    revision: 2,
    classCode: 0x060000,
    subsystemVendor: 0x1af4,
    subsystem: 0x1100,
    interruptPin: 0,
  });

  constructor(
    id: string,
    private readonly bus: PciBus,
    private readonly power: PowerControl,
    private readonly ram: Ram,
  ) {
    super(id);
    PAM_WRITABLE.forEach((bits, i) => this.layout.register(PAM.AT + i, 0, bits));
    this.layout.register(SMRAM, SMRAM_INITIAL, SMRAM_WRITABLE);
  }

  attach(io: IoPorts, mmio: MmioSpace): void {
    io.map(this.id, ADDRESS_PORT, 8, new ContainedPorts(this, this), 4);
    const length = SHADOW.last + 1 - SHADOW.first;
    mmio.map(this.id, SHADOW.first, length, new ContainedMmio(this, this.shadowed));
  }

  /** What firmware leaves behind: shadow RAM everywhere. */
  shadowAll(): void {
    PAM_ALL_RAM.forEach((bits, i) => this.configWrite(PAM.AT + i, 1, bits));
  }

  override afterLoad(): void {
    super.afterLoad();
    this.remapMemory();
  }

  override configWrite(offset: number, size: number, value: number): void {
    super.configWrite(offset, size, value);
    if (offset < PAM.AT + PAM.COUNT && offset + size > PAM.AT) this.remapMemory();
  }

  pioRead(offset: number, size: number): number {
    if (offset === RESET_OFFSET && size === 1) return this.state.resetControl;
    if (offset < DATA_OFFSET) return size === 4 ? this.state.address : 0xffffffff;
    const target = this.target(offset, size);
    if (!target) return allOnes(size);
    const register = (this.state.address & 0xfc) + offset - DATA_OFFSET;
    return target.contain(() => target.configRead(register, size), allOnes(size));
  }

  pioWrite(offset: number, size: number, value: number): void {
    if (offset === RESET_OFFSET && size === 1) return this.writeReset(value);
    if (offset < DATA_OFFSET) {
      if (size === 4) this.state.address = and32(value, ADDRESS_BITS);
      return;
    }
    const target = this.target(offset, size);
    const register = (this.state.address & 0xfc) + offset - DATA_OFFSET;
    target?.contain(() => target.configWrite(register, size, value), undefined);
  }

  /**
   * Type 1 addressing: enable, bus, device, function, register. Only bus 0 exists.
   */
  private target(offset: number, size: number): PluggedFunction | undefined {
    const { address } = this.state;
    if ((address & ENABLE) === 0 || ((address >>> 16) & 0xff) !== 0) return undefined;
    if ((offset & 3) + size > 4) return undefined;
    return this.bus.at((address >>> 11) & 0x1f, (address >>> 8) & 7);
  }

  private get pam(): Buffer {
    return this.state.config.subarray(PAM.AT, PAM.AT + PAM.COUNT);
  }

  private remapMemory(): void {
    const { ram } = this;
    outside(() => ram.setMap(memoryMap(this.pam, ram.size, ram.extraBytes)));
  }

  private writeReset(value: number): void {
    const rises = (value & ~this.state.resetControl & Reset.CPU) !== 0;
    this.state.resetControl = value & RESET_KEPT;
    if (rises) outside(() => this.power.reset('port 0xcf9'));
  }
}
