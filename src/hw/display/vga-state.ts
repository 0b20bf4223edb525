/** The registers of a VGA with the display extension of Bochs, as its state. */
import { array, bool8, bytes, u16, u8 } from '../../fields/field.js';
import { vmstate } from '../../fields/vmstate.js';
import type { StateOf } from '../device.js';
import { configField } from '../pci/config-space.js';

export const SEQUENCER_REGISTERS = 8;
export const CRTC_REGISTERS = 25;
export const GRAPHICS_REGISTERS = 9;
export const ATTRIBUTE_REGISTERS = 21;
export const VBE_REGISTERS = 11;

export const vgaState = vmstate('vga', 1, {
  config: configField,
  misc: u8,
  feature: u8,
  sequencerIndex: u8,
  sequencer: bytes(SEQUENCER_REGISTERS),
  crtcIndex: u8,
  crtc: bytes(CRTC_REGISTERS),
  graphicsIndex: u8,
  graphics: bytes(GRAPHICS_REGISTERS),
  attributeIndex: u8,
  /** The next write to 0x3c0 is data. */
  attributeData: bool8,
  attribute: bytes(ATTRIBUTE_REGISTERS),
  /** 0x3c7: 3 after an address to read from, 0 after one to write to. */
  dacMode: u8.mask(3),
  dacRead: u8,
  dacWrite: u8,
  /** Which of red, green and blue is next. */
  dacComponent: u8.range(0, 2),
  dacLatch: bytes(3),
  dacMask: u8.initially(0xff),
  /** Six or eight bits in each byte, as it was written. */
  palette: bytes(768),
  /** What the last read took from the four planes. */
  latch: bytes(4),
  vbeIndex: u16,
  vbe: array(u16, VBE_REGISTERS),
});

export type VgaState = StateOf<typeof vgaState>;

/** Bit of attributeIndex: the palette is connected, the screen shows something. */
export const PALETTE_ON = 0x20;
export const Sequencer = { CLOCKING: 1, MAP_MASK: 2, CHARACTER_MAP: 3, MEMORY_MODE: 4 } as const;
export const Crtc = {
  HORIZONTAL_DISPLAY_END: 0x01,
  OVERFLOW: 0x07,
  MAXIMUM_SCAN_LINE: 0x09,
  CURSOR_START: 0x0a,
  CURSOR_END: 0x0b,
  START_HIGH: 0x0c,
  START_LOW: 0x0d,
  CURSOR_HIGH: 0x0e,
  CURSOR_LOW: 0x0f,
  VERTICAL_RETRACE_END: 0x11,
  VERTICAL_DISPLAY_END: 0x12,
  OFFSET: 0x13,
  MODE: 0x17,
  LINE_COMPARE: 0x18,
} as const;
export const Graphics = {
  SET_RESET: 0,
  ENABLE_SET_RESET: 1,
  COLOR_COMPARE: 2,
  ROTATE: 3,
  READ_MAP: 4,
  MODE: 5,
  MISC: 6,
  COLOR_DONT_CARE: 7,
  BIT_MASK: 8,
} as const;
export const Attribute = {
  MODE: 0x10,
  OVERSCAN: 0x11,
  PLANE_ENABLE: 0x12,
  PANNING: 0x13,
  COLOR_SELECT: 0x14,
} as const;
