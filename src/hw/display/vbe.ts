/**
 * The registers that Bochs added to its VGA (VBE DISPI interface, version 5: "vbe_display_api"):
 * a size, a depth, a linear frame buffer. What is written is what the card can show: a size that
 * does not fit its memory is the largest that does.
 */
import type { VgaState } from './vga-state.js';

export const Vbe = {
  ID: 0,
  XRES: 1,
  YRES: 2,
  BPP: 3,
  ENABLE: 4,
  BANK: 5,
  VIRTUAL_WIDTH: 6,
  VIRTUAL_HEIGHT: 7,
  X_OFFSET: 8,
  Y_OFFSET: 9,
  MEMORY_64K: 10,
} as const;
export const VbeEnable = {
  ENABLED: 0x01,
  GET_CAPABILITIES: 0x02,
  DAC_8BIT: 0x20,
  LINEAR: 0x40,
  KEEP_MEMORY: 0x80,
} as const;

const ID_FIRST = 0xb0c0;
const ID_LAST = 0xb0c5;
export const VBE_MAX = { width: 2560, height: 1600, bpp: 32 } as const;
/** What registers say while they are asked for the largest that there is. */
const CAPABILITIES: Readonly<Record<number, number | undefined>> = {
  [Vbe.XRES]: VBE_MAX.width,
  [Vbe.YRES]: VBE_MAX.height,
  [Vbe.BPP]: VBE_MAX.bpp,
};
const DEPTHS = [4, 8, 15, 16, 24, 32];
/** Sizes are multiples of a character clock. */
const WIDTH_STEP = 8;

export const vbeEnabled = (s: VgaState): boolean => (s.vbe[Vbe.ENABLE] & VbeEnable.ENABLED) !== 0;

/** Bytes of a line of `width` pixels; of bpp 4, in each plane. */
export const lineBytes = (width: number, bpp: number): number =>
  bpp === 4 ? width >> 3 : width * ((bpp + 7) >> 3);

export interface VbeMode {
  width: number;
  height: number;
  bpp: number;
  /** Bytes from one line to the next; of bpp 4, in each plane. */
  stride: number;
  /** Of the first byte shown; of bpp 4, in each plane. */
  start: number;
}

export function readVbe(s: VgaState, index: number, memoryBytes: number): number {
  if (index === Vbe.MEMORY_64K) return memoryBytes >> 16;
  if (index > Vbe.MEMORY_64K) return 0;
  if ((s.vbe[Vbe.ENABLE] & VbeEnable.GET_CAPABILITIES) === 0) return s.vbe[index];
  return CAPABILITIES[index] ?? s.vbe[index];
}

/** True: the screen's memory is to be cleared. */
export function writeVbe(s: VgaState, index: number, value: number, memoryBytes: number): boolean {
  const { vbe } = s;
  const fixed = vbeEnabled(s);
  switch (index) {
    case Vbe.ID:
      if (value >= ID_FIRST && value <= ID_LAST) vbe[index] = value;
      return false;
    case Vbe.XRES:
    case Vbe.YRES:
    case Vbe.BPP:
      if (!fixed) vbe[index] = value;
      return false;
    case Vbe.ENABLE:
      return enable(s, value, memoryBytes);
    case Vbe.BANK:
      vbe[index] = value % Math.max(memoryBytes >> 16, 1);
      return false;
    case Vbe.VIRTUAL_WIDTH:
    case Vbe.X_OFFSET:
    case Vbe.Y_OFFSET:
      vbe[index] = value;
      if (fixed) settle(s, memoryBytes);
      return false;
    default:
      return false;
  }
}

function enable(s: VgaState, value: number, memoryBytes: number): boolean {
  const { vbe } = s;
  const rises = (value & ~vbe[Vbe.ENABLE] & VbeEnable.ENABLED) !== 0;
  vbe[Vbe.ENABLE] = value & 0xff;
  if (!rises) return false;
  vbe[Vbe.VIRTUAL_WIDTH] = 0;
  vbe[Vbe.X_OFFSET] = vbe[Vbe.Y_OFFSET] = vbe[Vbe.BANK] = 0;
  settle(s, memoryBytes);
  return (value & VbeEnable.KEEP_MEMORY) === 0;
}

/** Makes the registers say what is shown. */
function settle({ vbe }: Pick<VgaState, 'vbe'>, memoryBytes: number): void {
  const bpp = (vbe[Vbe.BPP] = DEPTHS.includes(vbe[Vbe.BPP]) ? vbe[Vbe.BPP] : 8);
  const width = Math.min(vbe[Vbe.XRES] & ~(WIDTH_STEP - 1), VBE_MAX.width) || WIDTH_STEP;
  const lines = (w: number) => Math.floor(planeBytes(bpp, memoryBytes) / lineBytes(w, bpp));
  vbe[Vbe.XRES] = width;
  vbe[Vbe.YRES] = Math.max(1, Math.min(vbe[Vbe.YRES], VBE_MAX.height, lines(width)));
  let virtual = Math.max(vbe[Vbe.VIRTUAL_WIDTH] & ~(WIDTH_STEP - 1), width);
  if (lines(virtual) < vbe[Vbe.YRES]) virtual = width;
  vbe[Vbe.VIRTUAL_WIDTH] = virtual;
  vbe[Vbe.VIRTUAL_HEIGHT] = Math.min(lines(virtual), 0xffff);
  vbe[Vbe.X_OFFSET] = Math.min(vbe[Vbe.X_OFFSET], virtual - width);
  vbe[Vbe.Y_OFFSET] = Math.min(vbe[Vbe.Y_OFFSET], vbe[Vbe.VIRTUAL_HEIGHT] - vbe[Vbe.YRES]);
}

const planeBytes = (bpp: number, memoryBytes: number) =>
  bpp === 4 ? memoryBytes / 4 : memoryBytes;

/** What the registers show, or would once settled: they may come from a stream. */
export function vbeMode(s: Pick<VgaState, 'vbe'>, memoryBytes: number): VbeMode {
  const vbe = [...s.vbe];
  settle({ vbe }, memoryBytes);
  const bpp = vbe[Vbe.BPP];
  const stride = lineBytes(vbe[Vbe.VIRTUAL_WIDTH], bpp);
  const left = lineBytes(vbe[Vbe.X_OFFSET], bpp);
  return {
    width: vbe[Vbe.XRES],
    height: vbe[Vbe.YRES],
    bpp,
    stride,
    start: vbe[Vbe.Y_OFFSET] * stride + left,
  };
}
