/**
 * The packets that a CD-ROM drive knows (MMC-3, T10/1363D; INF-8020i). What a command does is told
 * to the drive as plain data; the drive moves it.
 */
import {
  capacityReply,
  configurationReply,
  discReply,
  inquiryReply,
  type MediaEvent,
  mediaEventReply,
  mechanismReply,
  modeReply,
  noEventReply,
  rawTocReply,
  Sense,
  senseReply,
  sessionReply,
  tocReply,
} from './mmc-replies.js';

/** The drive behind the packets. */
export interface MmcUnit {
  /** Of the medium that can be read. */
  readonly blocks: number | undefined;
  readonly open: boolean;
  locked: boolean;
  moveTray(open: boolean): void;
  /** What happened since the last question. */
  takeEvent(): MediaEvent;
  /** Why the last command failed, or what has changed since. */
  takeSense(): Sense;
}

export type MmcOutcome =
  | { readonly kind: 'done' }
  | { readonly kind: 'failed'; readonly sense: Sense }
  | { readonly kind: 'data'; readonly bytes: Buffer }
  | { readonly kind: 'read'; readonly lba: number; readonly count: number };

interface MmcCommand {
  /** It is carried out although the guest has not heard yet that the medium was changed. */
  readonly anyway?: boolean;
  readonly needsMedium?: boolean;
  run(packet: Buffer, unit: MmcUnit, blocks: number): MmcOutcome;
}

export const REQUEST_SENSE = 0x03;

const done: MmcOutcome = { kind: 'done' };
const failed = (sense: Sense): MmcOutcome => ({ kind: 'failed', sense });
const data = (reply: Buffer | undefined, room: number): MmcOutcome =>
  reply ? { kind: 'data', bytes: reply.subarray(0, room) } : failed(Sense.BAD_FIELD);

function read(lba: number, count: number, blocks: number): MmcOutcome {
  if (lba + count > blocks) return failed(Sense.OUT_OF_RANGE);
  return count === 0 ? done : { kind: 'read', lba, count };
}

function readToc(packet: Buffer, _unit: MmcUnit, blocks: number): MmcOutcome {
  const msf = (packet[1] & 0x02) !== 0;
  const start = packet[6];
  const room = packet.readUInt16BE(7);
  // The older document has the format in the last byte.
  const format = packet[2] & 0x0f || packet[9] >> 6;
  if (format === 0) return data(tocReply(blocks, start, msf), room);
  if (format === 1) return data(sessionReply(msf), room);
  return data(format === 2 && start <= 1 ? rawTocReply(blocks) : undefined, room);
}

function modeSense(packet: Buffer, { blocks, open, locked }: MmcUnit): MmcOutcome {
  if (packet[2] >> 6 === 3) return failed(Sense.NOTHING_SAVED);
  const reply = modeReply(packet[2] & 0x3f, { medium: blocks !== undefined, open, locked });
  return data(reply, packet.readUInt16BE(7));
}

function getConfiguration(packet: Buffer, { blocks }: MmcUnit): MmcOutcome {
  const which = (['all', 'current', 'one', undefined] as const)[packet[1] & 0x03];
  if (!which) return failed(Sense.BAD_FIELD);
  const reply = configurationReply(blocks, which, packet.readUInt16BE(2));
  return data(reply, packet.readUInt16BE(7));
}

/** An answer that has no room for the event leaves it for the next one. */
function getEventStatus(packet: Buffer, unit: MmcUnit): MmcOutcome {
  const POLLED = 0x01;
  const MEDIA = 0x10;
  const room = packet.readUInt16BE(7);
  if ((packet[1] & POLLED) === 0) return failed(Sense.BAD_FIELD);
  if ((packet[4] & MEDIA) === 0) return data(noEventReply(), room);
  const event = room > 4 ? unit.takeEvent() : 'none';
  return data(mediaEventReply(event, unit.blocks !== undefined, unit.open), room);
}

function startStop(packet: Buffer, unit: MmcUnit): MmcOutcome {
  const START = 0x01;
  const LOAD_OR_EJECT = 0x02;
  const power = packet[4] >> 4;
  if (power !== 0 || (packet[4] & LOAD_OR_EJECT) === 0) return done;
  const open = (packet[4] & START) === 0;
  if (open && unit.locked && !unit.open) return failed(Sense.LOCKED);
  unit.moveTray(open);
  return done;
}

const commands = new Map<number, MmcCommand>([
  // TEST UNIT READY
  [0x00, { needsMedium: true, run: () => done }],
  [
    REQUEST_SENSE,
    { anyway: true, run: (packet, unit) => data(senseReply(unit.takeSense()), packet[4]) },
  ],
  // INQUIRY; it has no vital product data.
  [
    0x12,
    {
      anyway: true,
      run: packet => data((packet[1] & 1) === 0 ? inquiryReply() : undefined, packet[4]),
    },
  ],
  [0x1b, { run: startStop }],
  // PREVENT ALLOW MEDIUM REMOVAL
  [
    0x1e,
    {
      run: (packet, unit) => {
        unit.locked = (packet[4] & 1) !== 0;
        return done;
      },
    },
  ],
  // READ CAPACITY
  [0x25, { needsMedium: true, run: (_packet, _unit, blocks) => data(capacityReply(blocks), 8) }],
  // READ(10)
  [
    0x28,
    {
      needsMedium: true,
      run: (packet, _unit, blocks) => read(packet.readUInt32BE(2), packet.readUInt16BE(7), blocks),
    },
  ],
  [0x43, { needsMedium: true, run: readToc }],
  [0x46, { anyway: true, run: getConfiguration }],
  [0x4a, { anyway: true, run: getEventStatus }],
  // READ DISC INFORMATION; of what could be written there is none.
  [
    0x51,
    {
      needsMedium: true,
      run: packet => data((packet[1] & 7) === 0 ? discReply() : undefined, packet.readUInt16BE(7)),
    },
  ],
  [0x5a, { run: modeSense }],
  // READ(12)
  [
    0xa8,
    {
      needsMedium: true,
      run: (packet, _unit, blocks) => read(packet.readUInt32BE(2), packet.readUInt32BE(6), blocks),
    },
  ],
  // MECHANISM STATUS
  [0xbd, { run: (packet, { open }) => data(mechanismReply(open), packet.readUInt16BE(8)) }],
]);

/** packet: 12 bytes. changed: the guest has not heard of the medium yet; asked where it matters. */
export function runPacket(packet: Buffer, unit: MmcUnit, changed: () => boolean): MmcOutcome {
  const command = commands.get(packet[0]);
  if (!command) return failed(Sense.NO_COMMAND);
  if (!command.anyway && changed()) return failed(Sense.CHANGED);
  const { blocks, open } = unit;
  if (command.needsMedium && blocks === undefined)
    return failed(open ? Sense.TRAY_OPEN : Sense.NO_MEDIUM);
  return command.run(packet, unit, blocks ?? 0);
}
