/**
 * The registers of a VGA by their ports, 0x3b4 to 0x3da (IBM VGA Technical Reference, chapter 2;
 * FreeVGA's register descriptions).
 */
import {
  ATTRIBUTE_REGISTERS,
  Crtc,
  CRTC_REGISTERS,
  PALETTE_ON,
  type VgaState,
} from './vga-state.js';

export const FIRST_PORT = 0x3b0;
const Port = {
  ATTRIBUTE: 0x3c0,
  ATTRIBUTE_READ: 0x3c1,
  MISC_WRITE: 0x3c2,
  SEQUENCER_INDEX: 0x3c4,
  SEQUENCER_DATA: 0x3c5,
  DAC_MASK: 0x3c6,
  DAC_READ: 0x3c7,
  DAC_WRITE: 0x3c8,
  DAC_DATA: 0x3c9,
  FEATURE_READ: 0x3ca,
  MISC_READ: 0x3cc,
  GRAPHICS_INDEX: 0x3ce,
  GRAPHICS_DATA: 0x3cf,
  CRTC_INDEX: 0x3d4,
  CRTC_DATA: 0x3d5,
  STATUS_1: 0x3da,
} as const;
/** Bits of the registers that there are; the rest read as zero. */
const SEQUENCER_BITS = [0x03, 0x3d, 0x0f, 0x3f, 0x0e, 0, 0, 0xff];
const GRAPHICS_BITS = [0x0f, 0x0f, 0x0f, 0x1f, 0x03, 0x7b, 0x0f, 0x0f, 0xff];
const ATTRIBUTE_BITS = [0xef, 0xff, 0x3f, 0x0f, 0x0f];
const COLOR = 0x01;
const PROTECT = 0x80;
/** DAC states. */
const READING = 3;
const WRITING = 0;
/** 60 frames a second, of which the retrace takes a twentieth. */
const FRAME_NS = 16_666_667;
const RETRACE_NS = 833_333;
const LINE_NS = 31_746;
const BLANK_NS = 6_349;
const Status = { BLANK: 0x01, RETRACE: 0x08 } as const;

/** A monochrome card has its CRTC at 0x3b4, a colour card at 0x3d4. */
function shownAt(s: VgaState, port: number): number {
  if (port >= 0x3c0 && port < 0x3d0) return port;
  const color = (s.misc & COLOR) !== 0;
  if (port >= 0x3d0) return color ? port : 0;
  return color ? 0 : port + 0x20;
}

/** nowNs: the beam is somewhere. */
export function readPort(s: VgaState, at: number, nowNs: bigint): number {
  switch (shownAt(s, at)) {
    case Port.ATTRIBUTE:
      return s.attributeData ? 0 : s.attributeIndex;
    case Port.ATTRIBUTE_READ:
      return registerOf(s.attribute, s.attributeIndex & 0x1f);
    case Port.MISC_WRITE:
      return 0x10; // input status 0: a screen is connected
    case Port.SEQUENCER_INDEX:
      return s.sequencerIndex;
    case Port.SEQUENCER_DATA:
      return registerOf(s.sequencer, s.sequencerIndex);
    case Port.DAC_MASK:
      return s.dacMask;
    case Port.DAC_READ:
      return s.dacMode;
    case Port.DAC_WRITE:
      return s.dacWrite;
    case Port.DAC_DATA:
      return readDac(s);
    case Port.FEATURE_READ:
      return s.feature;
    case Port.MISC_READ:
      return s.misc;
    case Port.GRAPHICS_INDEX:
      return s.graphicsIndex;
    case Port.GRAPHICS_DATA:
      return registerOf(s.graphics, s.graphicsIndex);
    case Port.CRTC_INDEX:
      return s.crtcIndex;
    case Port.CRTC_DATA:
      return registerOf(s.crtc, s.crtcIndex);
    case Port.STATUS_1:
      s.attributeData = false;
      return beam(Number(nowNs % BigInt(FRAME_NS)));
    default:
      return 0xff;
  }
}

export function writePort(s: VgaState, at: number, value: number): void {
  switch (shownAt(s, at)) {
    case Port.ATTRIBUTE:
      return writeAttribute(s, value);
    case Port.MISC_WRITE:
      s.misc = value & ~0x10;
      return;
    case Port.SEQUENCER_INDEX:
      s.sequencerIndex = value & 7;
      return;
    case Port.SEQUENCER_DATA:
      return setRegister(s.sequencer, s.sequencerIndex, value, SEQUENCER_BITS);
    case Port.DAC_MASK:
      s.dacMask = value;
      return;
    case Port.DAC_READ:
      s.dacRead = value;
      return startDac(s, READING);
    case Port.DAC_WRITE:
      s.dacWrite = value;
      return startDac(s, WRITING);
    case Port.DAC_DATA:
      return writeDac(s, value);
    case Port.GRAPHICS_INDEX:
      s.graphicsIndex = value & 0xf;
      return;
    case Port.GRAPHICS_DATA:
      return setRegister(s.graphics, s.graphicsIndex, value, GRAPHICS_BITS);
    case Port.CRTC_INDEX:
      s.crtcIndex = value;
      return;
    case Port.CRTC_DATA:
      return writeCrtc(s, value);
    case Port.STATUS_1:
      s.feature = value & 0x10;
      return;
    default:
      return;
  }
}

const registerOf = (registers: Buffer, index: number): number =>
  index < registers.length ? registers[index] : 0;

/** bits: those of each register that there are. */
function setRegister(registers: Buffer, index: number, value: number, bits: number[]): void {
  if (index < registers.length) registers[index] = value & bits[index];
}

function startDac(s: VgaState, mode: number): void {
  s.dacComponent = 0;
  s.dacMode = mode;
}

function beam(inFrame: number): number {
  if (inFrame >= FRAME_NS - RETRACE_NS) return Status.RETRACE | Status.BLANK;
  return inFrame % LINE_NS < BLANK_NS ? Status.BLANK : 0;
}

function writeAttribute(s: VgaState, value: number): void {
  s.attributeData = !s.attributeData;
  if (s.attributeData) {
    s.attributeIndex = value & 0x3f;
    return;
  }
  const index = s.attributeIndex & 0x1f;
  // The palette is the screen's while it is connected.
  if (index < 16) {
    if ((s.attributeIndex & PALETTE_ON) === 0) s.attribute[index] = value & 0x3f;
  } else if (index < ATTRIBUTE_REGISTERS) {
    s.attribute[index] = value & ATTRIBUTE_BITS[index - 16];
  }
}

/** Registers 0 to 7 can be locked, but for the bit of the split line. */
function writeCrtc(s: VgaState, value: number): void {
  const { crtc, crtcIndex } = s;
  if (crtcIndex >= CRTC_REGISTERS) return;
  if (crtcIndex > Crtc.OVERFLOW || (crtc[Crtc.VERTICAL_RETRACE_END] & PROTECT) === 0)
    crtc[crtcIndex] = value;
  else if (crtcIndex === Crtc.OVERFLOW)
    crtc[crtcIndex] = (crtc[crtcIndex] & ~0x10) | (value & 0x10);
}

function readDac(s: VgaState): number {
  const value = s.palette[s.dacRead * 3 + s.dacComponent];
  if (++s.dacComponent === 3) {
    s.dacComponent = 0;
    s.dacRead = (s.dacRead + 1) & 0xff;
  }
  return value;
}

/** A colour is set when all three of it are there. */
function writeDac(s: VgaState, value: number): void {
  s.dacLatch[s.dacComponent] = value;
  if (++s.dacComponent < 3) return;
  s.palette.set(s.dacLatch, s.dacWrite * 3);
  s.dacComponent = 0;
  s.dacWrite = (s.dacWrite + 1) & 0xff;
}
