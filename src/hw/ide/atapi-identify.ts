/** The 256 words that a CD-ROM drive says of itself (ATA/ATAPI-6, section 8.16). */
import { identifyText, ModeKind, modeWord } from './ata-identify.js';

const Modes = { MULTIWORD: 0x07, ULTRA: 0x3f } as const;
/** A packet device, CD-ROM, removable; packets of 12 bytes are taken at once, without interrupt. */
const GENERAL = 0x85c0;
/** DEVICE RESET and PACKET. */
const FEATURES = 0x0210;
const NAME = 'COLO DVD-ROM';

export function identifyCd({ serial, dmaMode }: { serial: string; dmaMode: number }): Buffer {
  const b = Buffer.alloc(512);
  const word = (at: number, value: number) => b.writeUInt16LE(value, 2 * at);
  word(0, GENERAL);
  identifyText(b, 10, 20, serial);
  identifyText(b, 23, 8, '1.0');
  identifyText(b, 27, 40, NAME);
  word(49, 0x0b00); // LBA, DMA, IORDY
  word(50, 0x4000);
  word(53, 0x0006); // words 64 to 70 and 88 are valid
  word(63, modeWord(Modes.MULTIWORD, ModeKind.MULTIWORD, dmaMode));
  word(64, 0x0003);
  for (let at = 65; at <= 68; at++) word(at, 120); // ns of a cycle
  word(80, 0x0070); // ATA/ATAPI-4 to 6
  word(82, FEATURES);
  word(83, 0x4000);
  word(84, 0x4000);
  word(85, FEATURES);
  word(87, 0x4000);
  word(88, modeWord(Modes.ULTRA, ModeKind.ULTRA, dmaMode));
  word(93, 0x6001); // a cable of 80 wires
  return b;
}
