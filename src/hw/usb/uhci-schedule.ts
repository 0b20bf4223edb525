/**
 * One frame of a UHCI's schedule (UHCI Design Guide 1.1, sections 1.3 and 3): lists of queues and
 * transfers in guest memory, which the guest changes whenever it likes. What a frame may cost is
 * limited: bytes on the bus as the real one has them, and reads of memory; a ring of queues ends
 * where a round has moved nothing.
 */
import type { GuestMemory } from '../../accel/contract.js';
import { and32, or32, without32 } from '../../base/unsigned.js';
import { Pid, type UsbAnswer } from './contract.js';
import type { UsbDevice } from './usb-device.js';

const Link = { END: 1, QUEUE: 2, DEPTH_FIRST: 4 } as const;
export const TdBit = {
  TIMEOUT: 1 << 18,
  NAK: 1 << 19,
  BABBLE: 1 << 20,
  STALLED: 1 << 22,
  ACTIVE: 1 << 23,
  INTERRUPT: 1 << 24,
  ISOCHRONOUS: 1 << 25,
  SHORT: 1 << 29,
} as const;
const LENGTH = 0x7ff;
/** Length, and the bits of what happened. */
const RESULT = 0x007f_0000 | LENGTH;
const ERRORS_SHIFT = 27;
const ERRORS = 3 << ERRORS_SHIFT;
const PIDS: readonly number[] = Object.values(Pid);

/** Of one packet, and of all of a frame. */
const MAX_PACKET = 1280;
const FRAME_BYTES = 1280;
/** What a packet costs beside its data. */
const PACKET_BYTES = 13;
const MAX_READS = 512;

/** What a frame has brought; the sum of them. */
export const FrameResult = { INTERRUPT: 1, SHORT: 2, ERROR: 4, FATAL: 8, MOVED: 16 } as const;

/** What becomes of a queue after a transfer of it. */
type Step = 'next' | 'stay' | 'fatal';

interface Transfer {
  readonly at: number;
  readonly link: number;
  readonly control: number;
  readonly pid: number;
  readonly address: number;
  readonly endpoint: number;
  readonly length: number;
  readonly buffer: number;
}

const addressOf = (link: number) => without32(link, 0xf);
const NOTHING = new Uint8Array(0);

export class UhciSchedule {
  private readonly seen = new Set<number>();
  private result = 0;
  private reads = 0;
  private bytes = 0;
  /** Something was moved since the queues were last seen. */
  private moved = false;

  constructor(
    private readonly ram: GuestMemory,
    /** The device that has this address on an open port. */
    private readonly find: (address: number) => UsbDevice | undefined,
  ) {}

  /** Goes through the frame whose link is at this address. */
  frame(at: number): number {
    this.result = this.reads = this.bytes = 0;
    this.moved = false;
    this.seen.clear();
    let link = this.read(at);
    while (link !== undefined && (link & Link.END) === 0 && this.open)
      link = (link & Link.QUEUE) !== 0 ? this.queue(addressOf(link)) : this.single(addressOf(link));
    return this.result;
  }

  private get open(): boolean {
    return (
      this.reads < MAX_READS && this.bytes < FRAME_BYTES && (this.result & FrameResult.FATAL) === 0
    );
  }

  /** undefined: not RAM, which is the end of it. */
  private read(at: number): number | undefined {
    this.reads++;
    const value = this.ram.readU32(at);
    if (value === undefined) this.result |= FrameResult.FATAL;
    return value;
  }

  /** A transfer in a frame's own list. Returns the next link. */
  private single(at: number): number | undefined {
    const td = this.transfer(at);
    if (!td || this.execute(td) === 'fatal') return undefined;
    return td.link;
  }

  /** Returns the next link; undefined: this is the end of the frame. */
  private queue(at: number): number | undefined {
    if (this.seen.has(at)) {
      if (!this.moved) return undefined;
      this.seen.clear();
      this.moved = false;
    }
    this.seen.add(at);
    const next = this.read(at);
    let element = this.read(at + 4);
    while (element !== undefined && (element & Link.END) === 0 && this.open) {
      if ((element & Link.QUEUE) !== 0) return element;
      const td = this.transfer(addressOf(element));
      const step = td ? this.execute(td) : 'fatal';
      if (step !== 'next' || !td) return step === 'fatal' ? undefined : next;
      element = td.link;
      this.moved = true;
      if (!this.ram.writeU32(at + 4, element)) return this.fatal();
      if ((element & Link.DEPTH_FIRST) === 0) break;
    }
    return next;
  }

  private fatal(): undefined {
    this.result |= FrameResult.FATAL;
    return undefined;
  }

  /** undefined: the controller cannot make sense of it. */
  private transfer(at: number): Transfer | undefined {
    const link = this.read(at);
    const control = this.read(at + 4);
    const token = this.read(at + 8);
    const buffer = this.read(at + 12);
    if (link === undefined || control === undefined) return undefined;
    if (token === undefined || buffer === undefined) return undefined;
    const pid = token & 0xff;
    const length = ((token >>> 21) + 1) & LENGTH;
    const active = (control & TdBit.ACTIVE) !== 0;
    if (active && (length > MAX_PACKET || !PIDS.includes(pid))) return this.fatal();
    const [address, endpoint] = [(token >> 8) & 0x7f, (token >> 15) & 0xf];
    return { at, link, control, pid, address, endpoint, length, buffer };
  }

  private execute(td: Transfer): Step {
    if ((td.control & TdBit.ACTIVE) === 0) {
      // Its interrupt comes whether it was active or not (section 3.2.2).
      if ((td.control & TdBit.INTERRUPT) !== 0) this.result |= FrameResult.INTERRUPT;
      return 'stay';
    }
    const gives = td.pid !== Pid.IN && td.length > 0;
    const data = gives ? this.ram.read(td.buffer, td.length) : NOTHING;
    if (!data) return this.fatal() ?? 'fatal';
    this.bytes += PACKET_BYTES + td.length;
    const device = this.find(td.address);
    const answer: UsbAnswer =
      device?.contain(() => device.transact(td.pid, td.endpoint, data), 'timeout') ?? 'timeout';
    if (typeof answer !== 'string') return this.answered(td, answer);
    if (answer === 'nak') return this.close(td, TdBit.NAK, true);
    if (answer === 'stall') return this.failed(td, TdBit.STALLED);
    const errors = (td.control & ERRORS) >> ERRORS_SHIFT;
    if (errors === 1) return this.failed(td, TdBit.STALLED | TdBit.TIMEOUT);
    const left = errors === 0 ? 0 : errors - 1;
    const control = or32(without32(td.control, ERRORS), left << ERRORS_SHIFT);
    return this.close(td, TdBit.TIMEOUT, true, control);
  }

  private answered(td: Transfer, answer: Uint8Array): Step {
    const length = td.pid === Pid.IN ? answer.length : td.length;
    if (length > td.length) return this.failed(td, TdBit.STALLED | TdBit.BABBLE);
    if (answer.length > 0 && !this.ram.write(td.buffer, answer)) return this.fatal() ?? 'fatal';
    this.result |= FrameResult.MOVED;
    const step = this.close(td, (length - 1) & LENGTH, false);
    if ((td.control & TdBit.INTERRUPT) !== 0) this.result |= FrameResult.INTERRUPT;
    if (length === td.length || (td.control & TdBit.SHORT) === 0)
      return step === 'fatal' ? step : 'next';
    this.result |= FrameResult.SHORT;
    return step;
  }

  private failed(td: Transfer, bits: number): Step {
    this.result |= FrameResult.MOVED | FrameResult.ERROR;
    if ((td.control & TdBit.INTERRUPT) !== 0) this.result |= FrameResult.INTERRUPT;
    return this.close(td, bits | LENGTH, false);
  }

  /** Says in memory what became of it. One for a moment in time is never tried again. */
  private close(td: Transfer, bits: number, again: boolean, from = td.control): Step {
    const active = again && (td.control & TdBit.ISOCHRONOUS) === 0 ? TdBit.ACTIVE : 0;
    const kept = without32(from, RESULT | TdBit.ACTIVE);
    const control = or32(kept, and32(bits, RESULT) + active);
    // Guests are asked this often for news: what says the same again is no write.
    if (control === td.control || this.ram.writeU32(td.at + 4, control)) return 'stay';
    return this.fatal() ?? 'fatal';
  }
}
