/**
 * The PHY in an 82540EM, an M88E1011 (Software Developer's Manual, section 13.4.4 and chapter 13's
 * PHY registers; IEEE 802.3, clause 22): autonegotiation is over, 1000 Mb/s and full duplex, and
 * the link is up.
 */
import { array, type Of, record, u16, u32 } from '../../../fields/field.js';

const REGISTERS = 32;
const PHY = 1;
const PhyReg = { CONTROL: 0 } as const;
const PHY_RESET = 0x8000;
const RESTART = 0x0200;
const Op = { WRITE: 1, READ: 2 } as const;
const Mdic = { READY: 0x1000_0000, INTERRUPT: 0x2000_0000, ERROR: 0x4000_0000 } as const;
const ADDRESSED = 0x0fff_0000;

/** What it is after a reset. */
const INITIAL: Readonly<Record<number, number>> = {
  0: 0x1140,
  1: 0x796d,
  2: 0x0141,
  3: 0x0c20,
  4: 0x01e1,
  5: 0x41e1,
  6: 0x0001,
  9: 0x0300,
  10: 0x3800,
  15: 0x3000,
  16: 0x0360,
  17: 0xac00,
  20: 0x0d60,
};
/** Those that a driver may write: control, advertisement, and settings of this PHY. */
const WRITABLE: readonly number[] = [0, 4, 7, 9, 16, 18, 20, 24, 29, 30];

const initial = () => Array.from({ length: REGISTERS }, (_, n) => INITIAL[n] ?? 0);
const registers = array(u16, REGISTERS);

export const phyField = record({
  registers: { ...registers, reset: initial },
  mdic: u32.mask(0x7fff_ffff).initially(Mdic.READY),
});
type PhyState = Of<typeof phyField>;

/** What a driver may not write is ours again, whatever the stream said. */
export function restorePhy(s: PhyState): void {
  s.registers = initial().map((value, n) => (WRITABLE.includes(n) ? s.registers[n] : value));
}

export interface PhyAnswer {
  /** The driver asked for an interrupt when it is done. */
  readonly interrupt: boolean;
  /** The link was negotiated anew. */
  readonly linked: boolean;
}

/** MDIC is written. */
export function writeMdic(s: PhyState, value: number): PhyAnswer {
  const register = (value >>> 16) % REGISTERS;
  const op = (value >>> 26) & 3;
  const interrupt = (value & Mdic.INTERRUPT) !== 0;
  const told = (value & (ADDRESSED + Mdic.INTERRUPT)) >>> 0;
  const answer = (data: number, linked = false) => {
    s.mdic = told + Mdic.READY + data;
    return { interrupt, linked };
  };
  if (((value >>> 21) & 0x1f) !== PHY || (op !== Op.READ && op !== Op.WRITE)) {
    s.mdic = told + Mdic.READY + Mdic.ERROR + (value & 0xffff);
    return { interrupt, linked: false };
  }
  if (op === Op.READ) return answer(s.registers[register]);
  return answer(value & 0xffff, write(s, register, value & 0xffff));
}

/** True: the link is negotiated anew. */
function write(s: PhyState, register: number, value: number): boolean {
  if (!WRITABLE.includes(register)) return false;
  s.registers[register] = value;
  if (register !== PhyReg.CONTROL) return false;
  if ((value & PHY_RESET) !== 0) s.registers = initial();
  s.registers[register] &= ~(PHY_RESET | RESTART);
  return (value & (PHY_RESET | RESTART)) !== 0;
}
