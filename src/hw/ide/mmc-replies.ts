/**
 * What a CD-ROM drive answers, whole; the command cuts it to what was asked for (MMC-3, T10/1363D;
 * INF-8020i). A medium is one session of one data track.
 */

export const CD_BLOCK = 2048;
/** Longer than any CD: the medium is a DVD. */
const CD_BLOCKS_MAX = 90 * 60 * 75;
const LEAD_IN_BLOCKS = 150;
const LEAD_OUT = 0xaa;
/** A data track that may not be copied. */
const DATA_TRACK = 0x14;
const Profile = { NONE: 0, CD_ROM: 0x08, DVD_ROM: 0x10 } as const;
/** A tray that opens by command, and that can be locked. */
const TRAY = 0x29;
const VENDOR = 'COLO';
const PRODUCT = 'COLO DVD-ROM';
const REVISION = '1.0';

/** Key, additional code, qualifier. */
export type Sense = readonly [key: number, code: number, qualifier: number];
export const Sense = {
  NONE: [0, 0, 0],
  NO_MEDIUM: [2, 0x3a, 0x00],
  TRAY_OPEN: [2, 0x3a, 0x02],
  UNREADABLE: [3, 0x11, 0x00],
  NO_COMMAND: [5, 0x20, 0x00],
  OUT_OF_RANGE: [5, 0x21, 0x00],
  BAD_FIELD: [5, 0x24, 0x00],
  NOTHING_SAVED: [5, 0x39, 0x00],
  LOCKED: [5, 0x53, 0x02],
  CHANGED: [6, 0x28, 0x00],
} as const satisfies Readonly<Record<string, Sense>>;

/** What the user and the guest have done with the medium; the codes of GET EVENT STATUS. */
export const mediaEvents = ['none', 'eject-request', 'new', 'removed'] as const;
export type MediaEvent = (typeof mediaEvents)[number];

export function senseReply([key, code, qualifier]: Sense): Buffer {
  const b = Buffer.alloc(18);
  b[0] = 0x70;
  b[2] = key;
  b[7] = b.length - 8;
  b[12] = code;
  b[13] = qualifier;
  return b;
}

export function inquiryReply(): Buffer {
  const b = Buffer.alloc(36);
  b.set([0x05, 0x80, 0x00, 0x21, b.length - 5]);
  b.write(VENDOR.padEnd(8), 8, 'latin1');
  b.write(PRODUCT.padEnd(16), 16, 'latin1');
  b.write(REVISION.padEnd(4), 32, 'latin1');
  return b;
}

export function capacityReply(blocks: number): Buffer {
  const b = Buffer.alloc(8);
  b.writeUInt32BE(Math.max(blocks - 1, 0), 0);
  b.writeUInt32BE(CD_BLOCK, 4);
  return b;
}

/** A block by its number, or by minute, second and frame. */
function address(lba: number, msf: boolean): number[] {
  if (!msf) return [24, 16, 8, 0].map(bit => (lba >>> bit) & 0xff);
  const frames = lba + LEAD_IN_BLOCKS;
  const minute = Math.min(Math.floor(frames / (60 * 75)), 0xff);
  return [0, minute, Math.floor(frames / 75) % 60, frames % 75];
}

function withLength(body: readonly number[]): Buffer {
  const b = Buffer.from([0, 0, ...body]);
  b.writeUInt16BE(body.length, 0);
  return b;
}

/** READ TOC of format 0; undefined: there is no such track. */
export function tocReply(blocks: number, start: number, msf: boolean): Buffer | undefined {
  if (start > 1 && start !== LEAD_OUT) return undefined;
  const track = (number: number, lba: number) => [0, DATA_TRACK, number, 0, ...address(lba, msf)];
  const first = start === LEAD_OUT ? [] : track(1, 0);
  return withLength([1, 1, ...first, ...track(LEAD_OUT, blocks)]);
}

/** READ TOC of format 1. */
export const sessionReply = (msf: boolean): Buffer =>
  withLength([1, 1, 0, DATA_TRACK, 1, 0, ...address(0, msf)]);

/** READ TOC of format 2: what the lead-in holds. */
export function rawTocReply(blocks: number): Buffer {
  const point = (number: number, where: readonly number[]) => [
    ...[1, DATA_TRACK, 0, number, 0, 0, 0],
    ...where,
  ];
  const [, ...leadOut] = address(blocks, true);
  const [, ...first] = address(0, true);
  return withLength([
    ...[1, 1],
    ...point(0xa0, [0, 1, 0, 0]),
    ...point(0xa1, [0, 1, 0, 0]),
    ...point(0xa2, [0, ...leadOut]),
    ...point(1, [0, ...first]),
  ]);
}

/** MODE SENSE(10); undefined: there is no such page. */
export function modeReply(
  page: number,
  { medium, open, locked }: { medium: boolean; open: boolean; locked: boolean },
): Buffer | undefined {
  const pages: Readonly<Record<number, readonly number[]>> = {
    0x01: [0x01, 6, 0, 5, 0, 0, 0, 0],
    // It reads CD-R, CD-RW and DVD-ROM; speeds of 4x, a buffer of 512 KiB, no sound.
    0x2a: [
      ...[0x2a, 18, 0x0b, 0, 0, 0, TRAY | (locked ? 0x02 : 0), 0],
      ...[0x02, 0xc2, 0, 0, 0x02, 0x00, 0x02, 0xc2, 0, 0, 0, 0],
    ],
  };
  const wanted = page === 0x3f ? Object.values(pages).flat() : pages[page];
  if (!wanted) return undefined;
  const type = open ? 0x71 : medium ? 0x01 : 0x70;
  return withLength([type, 0, 0, 0, 0, 0, ...wanted]);
}

/** GET CONFIGURATION. which: all from `start` on, those in force, or `start` alone. */
export function configurationReply(
  blocks: number | undefined,
  which: 'all' | 'current' | 'one',
  start: number,
): Buffer {
  const dvd = blocks !== undefined && blocks > CD_BLOCKS_MAX;
  const profile = blocks === undefined ? Profile.NONE : dvd ? Profile.DVD_ROM : Profile.CD_ROM;
  const listed = (code: number) => [0, code, profile === code ? 1 : 0, 0];
  const always = 0x03;
  const features: readonly [code: number, flags: number, data: readonly number[]][] = [
    [0x0000, always, [...listed(Profile.DVD_ROM), ...listed(Profile.CD_ROM)]],
    [0x0001, always, [0, 0, 0, 2]],
    [0x0003, always, [TRAY, 0, 0, 0]],
    [0x0010, blocks === undefined ? 0 : 1, [0, 0, CD_BLOCK >> 8, 0, 0, 1, 0, 0]],
  ];
  const body = features
    .filter(([code]) => (which === 'one' ? code === start : code >= start))
    .filter(([, flags]) => which !== 'current' || (flags & 1) !== 0)
    .flatMap(([code, flags, data]) => [code >> 8, code & 0xff, flags, data.length, ...data]);
  const b = Buffer.from([0, 0, 0, 0, 0, 0, profile >> 8, profile & 0xff, ...body]);
  b.writeUInt32BE(b.length - 4, 0);
  return b;
}

/** GET EVENT STATUS NOTIFICATION, where media are among the classes that were asked for. */
export const mediaEventReply = (event: MediaEvent, medium: boolean, open: boolean): Buffer =>
  withLength([
    0x04,
    0x10,
    mediaEvents.indexOf(event),
    (open ? 0x01 : 0) | (medium ? 0x02 : 0),
    0,
    0,
  ]);

/** None of the classes is here. */
export const noEventReply = (): Buffer => withLength([0x80, 0x10]);

/** READ DISC INFORMATION: complete, one session of one track. */
export function discReply(): Buffer {
  const b = Buffer.alloc(34);
  b.writeUInt16BE(b.length - 2, 0);
  b.set([0x0e, 1, 1, 1, 1, 0x20], 2);
  return b;
}

export const mechanismReply = (open: boolean): Buffer =>
  Buffer.from([0, open ? 0x10 : 0, 0, 0, 0, 0, 0, 0]);
