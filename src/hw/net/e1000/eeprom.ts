/**
 * The EEPROM of an 82540EM (Software Developer's Manual, chapter 5), which holds the card's
 * address: 64 words, read by the register EERD, or bit by bit by EECD as a serial 93C46 (Microwire)
 * is. Nothing writes to it.
 */
import { type Of, record, u16, u8 } from '../../../fields/field.js';

const WORDS = 64;
/** Words that drivers look at: what they say is that there is nothing special. */
const Word = {
  CONTROL_1: 0x0a,
  SUBSYSTEM: 0x0b,
  DEVICE: 0x0d,
  CONTROL_2: 0x0f,
  SUM: 0x3f,
} as const;
/** Two bits say that the word is valid; the other two, that the ids below count. */
const VALID = 0x4000;
const IDS = 0x0003;
/** What all words add up to. */
const SUM = 0xbaba;

export function eepromWords(mac: Uint8Array): Uint16Array {
  const words = new Uint16Array(WORDS);
  for (let n = 0; n < 3; n++) words[n] = mac[2 * n] | (mac[2 * n + 1] << 8);
  words[Word.CONTROL_1] = VALID + IDS;
  words.set([0x1100, 0x1af4], Word.SUBSYSTEM);
  words.set([0x100e, 0x8086], Word.DEVICE);
  words[Word.CONTROL_2] = VALID;
  words[Word.SUM] = SUM - words.reduce((sum, word) => sum + word, 0);
  return words;
}

const Eecd = {
  CLOCK: 0x01,
  SELECT: 0x02,
  IN: 0x04,
  OUT: 0x08,
  REQUEST: 0x40,
  GRANT: 0x80,
  PRESENT: 0x100,
} as const;
/** Those that the guest drives. */
const DRIVEN = Eecd.CLOCK | Eecd.SELECT | Eecd.IN | 0x30 | Eecd.REQUEST;
const Eerd = { START: 0x01, DONE: 0x10 } as const;
/** A one, two bits of what to do and six of an address. */
const COMMAND = 0x100;
const OPERATION = 0x1c0;
const READ = 0x180;

export const eepromField = record({
  driven: u8.mask(DRIVEN),
  /** Bits of a command since its first one. */
  command: u16.mask(0x1ff),
  /** Of the data that is read: how many were given. */
  given: u8.range(0, 16),
  out: u8.range(0, 1).initially(1),
  /** Of EERD: the address that was asked for, and 0x80. */
  asked: u8.mask(0x80 + WORDS - 1),
});
type EepromState = Of<typeof eepromField>;

export function readEecd({ driven, out }: EepromState): number {
  const grant = (driven & Eecd.REQUEST) !== 0 ? Eecd.GRANT : 0;
  return driven + grant + Eecd.PRESENT + (out === 1 ? Eecd.OUT : 0);
}

export function writeEecd(s: EepromState, value: number, words: Uint16Array): void {
  const before = s.driven;
  s.driven = value & DRIVEN;
  if ((value & Eecd.SELECT) === 0) {
    s.command = s.given = 0;
    s.out = 1;
  } else if ((value & ~before & Eecd.CLOCK) !== 0) {
    clock(s, (value & Eecd.IN) !== 0 ? 1 : 0, words);
  }
}

/** A rising edge. */
function clock(s: EepromState, bit: number, words: Uint16Array): void {
  if ((s.command & COMMAND) === 0) {
    s.command = (s.command << 1) | bit;
    // A zero goes before the data; what is no read is ready at once.
    s.out = (s.command & OPERATION) === READ ? 0 : 1;
    s.given = 0;
    return;
  }
  if ((s.command & OPERATION) !== READ) return;
  if (s.given === 16) {
    s.command = READ + ((s.command + 1) % WORDS);
    s.given = 0;
  }
  s.out = (words[s.command % WORDS] >> (15 - s.given)) & 1;
  s.given++;
}

export function readEerd({ asked }: EepromState, words: Uint16Array): number {
  if (asked < 0x80) return 0;
  const address = asked % WORDS;
  return words[address] * 0x10000 + address * 0x100 + Eerd.DONE;
}

export function writeEerd(s: EepromState, value: number): void {
  s.asked = (value & Eerd.START) !== 0 ? 0x80 + ((value >>> 8) % WORDS) : 0;
}
