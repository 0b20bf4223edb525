/** The 256 words that a disk says of itself (ATA/ATAPI-6, section 8.15.7). */

export const ATA_SECTOR = 512;
/** Sectors of a block of READ MULTIPLE at most. */
export const MULTIPLE_MAX = 16;
export const HEADS = 16;
export const SECTORS_PER_TRACK = 63;
const CYLINDERS_MAX = 16383;
const LBA28_MAX = 0x0fff_ffff;
const Modes = { MULTIWORD: 0x07, ULTRA: 0x3f } as const;
/** SET FEATURES has modes with their kind in the high bits. */
export const ModeKind = { MULTIWORD: 0x20, ULTRA: 0x40 } as const;

export interface Identified {
  readonly sectors: number;
  readonly serial: string;
  readonly multiple: number;
  readonly writeCache: boolean;
  readonly dmaMode: number;
}

export const cylindersOf = (sectors: number): number =>
  Math.max(1, Math.min(CYLINDERS_MAX, Math.floor(sectors / (HEADS * SECTORS_PER_TRACK))));

/** Mode that SET FEATURES may choose. */
export function knownMode(mode: number): boolean {
  if (mode < 0x10) return mode <= 0x0c;
  const [kind, number] = [mode & ~0x07, mode & 0x07];
  return (kind === ModeKind.MULTIWORD && number <= 2) || (kind === ModeKind.ULTRA && number <= 5);
}

/** Bits of a word: what there is, and in the high byte what is chosen. */
export const modeWord = (supported: number, kind: number, mode: number): number =>
  supported | ((mode & ~0x07) === kind ? 1 << (8 + (mode & 0x07)) : 0);

/** Two letters a word, the first one in the high byte. */
export function identifyText(words: Buffer, word: number, length: number, text: string): void {
  const padded = Buffer.from(text.padEnd(length).slice(0, length), 'latin1');
  padded.swap16().copy(words, 2 * word);
}

export function identifyDisk(id: Identified): Buffer {
  const b = Buffer.alloc(512);
  const word = (at: number, value: number) => b.writeUInt16LE(value, 2 * at);
  const long = (at: number, value: number) => b.writeUInt32LE(value, 2 * at);
  const cylinders = cylindersOf(id.sectors);
  const shown = cylinders * HEADS * SECTORS_PER_TRACK;
  const cache = id.writeCache ? 0x20 : 0;
  word(0, 0x0040);
  word(1, cylinders);
  word(3, HEADS);
  word(6, SECTORS_PER_TRACK);
  identifyText(b, 10, 20, id.serial);
  identifyText(b, 23, 8, '1.0');
  identifyText(b, 27, 40, 'COLO HARDDISK');
  word(47, 0x8000 | MULTIPLE_MAX);
  word(49, 0x0b00); // LBA, DMA, IORDY
  word(50, 0x4000);
  word(53, 0x0007); // words 54 to 58, 64 to 70 and 88 are valid
  word(54, cylinders);
  word(55, HEADS);
  word(56, SECTORS_PER_TRACK);
  long(57, shown);
  word(59, id.multiple > 0 ? 0x0100 | id.multiple : 0);
  long(60, Math.min(id.sectors, LBA28_MAX));
  word(63, modeWord(Modes.MULTIWORD, ModeKind.MULTIWORD, id.dmaMode));
  word(64, 0x0003);
  for (let at = 65; at <= 68; at++) word(at, 120); // ns of a cycle
  word(80, 0x0070); // ATA/ATAPI-4 to 6
  word(82, 0x0020);
  word(83, 0x7400); // 48 bits, FLUSH CACHE and its EXT
  word(84, 0x4040); // FUA
  word(85, cache);
  word(86, 0x3400);
  word(87, 0x4040);
  word(88, modeWord(Modes.ULTRA, ModeKind.ULTRA, id.dmaMode));
  word(93, 0x6001); // a cable of 80 wires
  b.writeBigUInt64LE(BigInt(id.sectors), 200);
  return b;
}
