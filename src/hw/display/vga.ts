/**
 * A VGA with the display extension of Bochs, as a PCI card (QEMU's "Standard VGA": its page
 * "Standard VGA" says what is in which BAR). Bar 0 is the card's memory, bar 2 holds the registers
 * by address, the ROM is that of the VGA BIOS.
 */
import type { VideoMemory } from '../../accel/contract.js';
import { lowBytes } from '../../base/unsigned.js';
import type { IoPorts } from '../../memory/io-ports.js';
import type { MmioSpace } from '../../memory/mmio-space.js';
import { ContainedMmio, ContainedPorts } from '../contain.js';
import { ConfigLayout } from '../pci/config-space.js';
import { type Bar, PciFunction, ROM_BAR } from '../pci/function.js';
import type { GuestClock } from '../wiring.js';
import {
  BLANK_SCREEN,
  type DisplaySource,
  newSurface,
  type Painter,
  type Rect,
  type Surface,
} from './surface.js';
import { readVbe, Vbe, vbeMode, writeVbe } from './vbe.js';
import { readWindow, WINDOW_BASE, WINDOW_BYTES, writeWindow } from './vga-memory.js';
import { type ScreenMode, screenMode } from './vga-mode.js';
import { attributeColors, dacColors } from './vga-palette.js';
import { paintLinear, paintVga } from './vga-pixels.js';
import { FIRST_PORT, readPort, writePort } from './vga-ports.js';
import { vgaState, type VgaState } from './vga-state.js';
import { fontKey, paintText } from './vga-text.js';

/** Bar 2: the ports from 0x3c0, the words of VBE, and which order bytes have in the memory. */
const Registers = { SIZE: 0x1000, PORTS: 0x400, VBE: 0x500, EXTENSION: 0x600 } as const;
const LITTLE_ENDIAN = 0x1e1e1e1e;
const VBE_PORT = 0x1ce;

export class Vga extends PciFunction<VgaState> implements DisplaySource {
  readonly vmstate = vgaState;
  state = vgaState.reset();
  readonly description = 'VGA controller';
  readonly layout = new ConfigLayout({
    vendor: 0x1234,
    device: 0x1111,
    revision: 2,
    classCode: 0x030000,
    subsystemVendor: 0x1af4,
    subsystem: 0x1100,
    interruptPin: 0,
  });
  readonly bars: readonly Bar[];

  constructor(
    id: string,
    private readonly memory: VideoMemory,
    private readonly clock: Pick<GuestClock, 'ns'>,
    rom?: Buffer,
  ) {
    super(id);
    const { bytes } = memory;
    this.layout.memoryBar(0, bytes.length, { prefetchable: true });
    this.layout.memoryBar(2, Registers.SIZE);
    const registers = {
      mmioRead: (offset: number, size: number) => this.registerRead(offset, size),
      mmioWrite: (offset: number, size: number, value: number) =>
        this.registerWrite(offset, size, value),
    };
    const bars: Bar[] = [
      { index: 0, size: bytes.length, name: `${id} memory`, handler: this.linear() },
      {
        index: 2,
        size: Registers.SIZE,
        name: `${id} registers`,
        handler: new ContainedMmio(this, registers),
      },
    ];
    if (rom) bars.push(this.romBar(rom));
    this.bars = bars;
  }

  attach(io: IoPorts, mmio: MmioSpace): void {
    const legacy = new ContainedPorts(this, this);
    for (const [from, length] of [
      [0x3b4, 2],
      [0x3ba, 1],
      [0x3c0, 16],
      [0x3d4, 2],
      [0x3da, 1],
    ] as const)
      io.map(this.id, from, length, {
        pioRead: (offset, size) => legacy.pioRead(from - FIRST_PORT + offset, size),
        pioWrite: (offset, size, value) => legacy.pioWrite(from - FIRST_PORT + offset, size, value),
      });
    const words = {
      pioRead: (offset: number, size: number) =>
        lowBytes(offset === 0 ? this.state.vbeIndex : this.vbeRead(this.state.vbeIndex), size),
      pioWrite: (offset: number, _size: number, value: number) => {
        if (offset === 0) this.state.vbeIndex = value;
        else this.vbeWrite(this.state.vbeIndex, value);
      },
    };
    // The word behind is at 0x1cf, which is no multiple of two, and at 0x1d0 for those who mind.
    io.map(this.id, VBE_PORT, 4, new ContainedPorts(this, words), 2);
    mmio.map(`${this.id} window`, WINDOW_BASE, WINDOW_BYTES, new ContainedMmio(this, this));
  }

  /** Memory goes with the power, a reset leaves it. */
  override reset(): void {
    super.reset();
    this.state.vbe[Vbe.ID] = 0xb0c5;
  }

  pioRead(offset: number): number {
    return readPort(this.state, FIRST_PORT + offset, this.clock.ns());
  }

  pioWrite(offset: number, _size: number, value: number): void {
    writePort(this.state, FIRST_PORT + offset, value);
  }

  mmioRead(offset: number, size: number): number {
    let value = 0;
    for (let i = size - 1; i >= 0; i--)
      value = value * 256 + readWindow(this.state, this.memory, offset + i);
    return value;
  }

  mmioWrite(offset: number, size: number, value: number): void {
    for (let i = 0; i < size; i++)
      writeWindow(this.state, this.memory, offset + i, (value >>> (8 * i)) & 0xff);
  }

  /** The memory itself is there, where nothing else is in its way: then these are not called. */
  override barMapped(index: number, address: number | undefined): void {
    if (index === 0) this.memory.map(address);
  }

  paint(painter: Painter): { surface: Surface; changed: readonly Rect[] } {
    const { state: s, memory } = this;
    const mode = screenMode(s, memory.bytes.length);
    const dac = dacColors(s);
    const attribute = attributeColors(s, dac);
    const size = sizeOf(mode);
    const font = mode.kind === 'text' ? fontKey(s, memory.bytes) : 0;
    const key = JSON.stringify([
      mode,
      font,
      Buffer.from(dac.buffer).toString('latin1'),
      [...attribute],
    ]);
    const fresh = painter.key !== key;
    if (fresh) {
      painter.key = key;
      painter.rows = [];
    }
    const { surface } = painter;
    if (surface.width !== size.width || surface.height !== size.height)
      painter.surface = newSurface(size.width, size.height);
    else if (fresh && mode.kind === 'blank') surface.pixels.fill(0);
    const changed = this.draw(mode, { dac, attribute }, painter);
    const all = [{ x: 0, y: 0, ...size }];
    return { surface: painter.surface, changed: fresh ? all : changed };
  }

  private draw(
    mode: ScreenMode,
    palettes: { dac: Uint32Array; attribute: Uint32Array },
    painter: Painter,
  ): readonly Rect[] {
    const { bytes } = this.memory;
    switch (mode.kind) {
      case 'blank':
        return [];
      case 'text':
        return paintText(this.state, mode, bytes, palettes.attribute, painter).rects;
      case 'linear':
        return paintLinear(mode, bytes, palettes, painter).rects;
      default:
        return paintVga(mode, bytes, palettes, painter).rects;
    }
  }

  // --- bars

  private linear(): ContainedMmio {
    const { bytes } = this.memory;
    return new ContainedMmio(this, {
      mmioRead: (offset, size) => {
        let value = 0;
        for (let i = size - 1; i >= 0; i--) value = value * 256 + bytes[offset + i];
        return value;
      },
      mmioWrite: (offset, size, value) => {
        for (let i = 0; i < size; i++) bytes[offset + i] = value >>> (8 * i);
        this.memory.markWritten(offset, size);
      },
    });
  }

  private romBar(rom: Buffer): Bar {
    let size = 0x800;
    while (size < rom.length) size *= 2;
    this.layout.romBar(size);
    const padded = Buffer.alloc(size, 0xff);
    rom.copy(padded);
    const handler = new ContainedMmio(this, {
      mmioRead: (offset, length) => padded.readUIntLE(offset, length),
      mmioWrite: () => undefined,
    });
    return { index: ROM_BAR, size, name: `${this.id} rom`, handler };
  }

  private registerRead(offset: number, size: number): number {
    if (offset >= Registers.PORTS && offset + size <= Registers.PORTS + 0x20)
      return this.bytewise(offset, size, at => this.pioRead(at - Registers.PORTS + 0x10));
    const word = offset - Registers.VBE;
    if (word >= 0 && word <= 2 * Vbe.MEMORY_64K && word % 2 === 0) return this.vbeRead(word >> 1);
    if (offset === Registers.EXTENSION && size === 4) return 8; // bytes of the extension
    return offset === Registers.EXTENSION + 4 && size === 4 ? LITTLE_ENDIAN : lowBytes(-1, size);
  }

  private registerWrite(offset: number, size: number, value: number): void {
    const word = offset - Registers.VBE;
    if (offset >= Registers.PORTS && offset + size <= Registers.PORTS + 0x20)
      for (let i = 0; i < size; i++)
        this.pioWrite(offset + i - Registers.PORTS + 0x10, 1, (value >>> (8 * i)) & 0xff);
    else if (word >= 0 && word <= 2 * Vbe.MEMORY_64K && word % 2 === 0)
      this.vbeWrite(word >> 1, value & 0xffff);
  }

  private bytewise(offset: number, size: number, read: (at: number) => number): number {
    let value = 0;
    for (let i = 0; i < size; i++) value += read(offset + i) * 2 ** (8 * i);
    return value;
  }

  private vbeRead(index: number): number {
    return readVbe(this.state, index, this.memory.bytes.length);
  }

  private vbeWrite(index: number, value: number): void {
    const { memory, state } = this;
    if (!writeVbe(state, index, value, memory.bytes.length)) return;
    const { bpp, stride, height } = vbeMode(state, memory.bytes.length);
    const shown = Math.min(stride * height * (bpp === 4 ? 4 : 1), memory.bytes.length);
    memory.bytes.fill(0, 0, shown);
    memory.markWritten(0, shown);
  }
}

function sizeOf(mode: ScreenMode): { width: number; height: number } {
  switch (mode.kind) {
    case 'blank':
      return BLANK_SCREEN;
    case 'text':
      return { width: mode.columns * mode.cellWidth, height: mode.rows * mode.cellHeight };
    default:
      return { width: mode.width, height: mode.height };
  }
}
