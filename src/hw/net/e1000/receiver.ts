/**
 * World to guest (Software Developer's Manual, section 3.2): a frame goes into as many buffers as
 * it needs, or waits in the netdev until there are so many. Packet checksums are not counted, and
 * the descriptor says so.
 */
import { crc32 } from 'node:zlib';
import type { GuestMemory } from '../../../accel/contract.js';
import type { Turn } from '../../turn.js';
import { addressOf, DESCRIPTOR_DONE, DescriptorRing } from './descriptors.js';
import { type Passed, passes, passesVlan, tagOf, withoutTag } from './receive-filter.js';
import { E1000Cause, E1000Control, E1000Rx, E1000RxField } from './registers.js';
import type { E1000State } from './state.js';
import { countLong, countReceived } from './statistics.js';

const Status = { END: 0x02, IGNORE_CHECKSUM: 0x04, VLAN: 0x08, INEXACT: 0x80 } as const;
const ETHERNET_HEADER = 14;
const SHORTEST = 60;
/** Without the checksum on the wire. */
const MAX_FRAME = 1518;
const MAX_LONG_FRAME = 16_380;
const FCS = 4;
/** By RCTL, and by RCTL with its extension. */
const SIZES = [2048, 1024, 512, 256] as const;
const EXTENDED_SIZES = [2048, 16_384, 8192, 4096] as const;
/** A frame for whose buffers more would have to be looked at is dropped: the others are empty. */
const MAX_DESCRIPTORS = 2048;

export interface ReceiveHost {
  readonly ram: GuestMemory;
  readonly turn: Turn;
}

/** 0: it was dropped; a cause of interrupts: it is there. waits: there is no room for it now. */
export type ReceiveResult = number | 'waits';

interface Content {
  readonly bytes: Buffer;
  readonly status: number;
  readonly tag: number;
}

export class Receiver {
  constructor(private readonly host: ReceiveHost) {}

  /** frame: the caller's. */
  take(s: E1000State, frame: Uint8Array): ReceiveResult {
    if ((s.rctl & E1000Rx.ENABLE) === 0 || frame.length < ETHERNET_HEADER) return 0;
    const long = (s.rctl & E1000Rx.LONG) !== 0;
    if (frame.length > (long ? MAX_LONG_FRAME : MAX_FRAME)) {
      countLong(s.statistics);
      return 0;
    }
    const passed = passes(s.filter, s.rctl, frame);
    const tag = tagOf(frame, s.vet);
    if (!passed || (tag !== undefined && !passesVlan(s.filter, s.rctl, tag))) return 0;
    if (!this.host.turn.open) return 'waits';
    const result = this.place(s, contentOf(s, frame, passed, tag));
    if (result !== 'waits' && result !== 0) countReceived(s.statistics, frame);
    return result;
  }

  private place(s: E1000State, content: Content): ReceiveResult {
    const ring = new DescriptorRing(this.host.ram, {
      low: s.rdbal,
      high: s.rdbah,
      length: s.rdlen,
      head: s.rdh,
      tail: s.rdt,
    });
    const size = bufferBytes(s.rctl);
    const buffers: number[] = [];
    let room = 0;
    while (room < content.bytes.length && buffers.length < ring.filled) {
      const words = buffers.length < MAX_DESCRIPTORS ? ring.read(buffers.length) : undefined;
      if (!words) break;
      const address = addressOf(words);
      buffers.push(address);
      // One without an address takes nothing.
      if (address !== 0) room += size;
    }
    this.host.turn.spend(buffers.length, content.bytes.length);
    if (room < content.bytes.length)
      return buffers.length === ring.filled && !ring.full && ring.count > 0 ? 'waits' : 0;
    this.fill(ring, buffers, size, content);
    s.rdh = ring.headAfter(buffers.length);
    const few = ring.count >> (((s.rctl >>> E1000RxField.FEW) & 3) + 1);
    const left = ring.filled - buffers.length;
    return E1000Cause.RX + (left <= few ? E1000Cause.RX_FEW : 0);
  }

  /** The byte that says that a descriptor is done comes last: a driver may be looking. */
  private fill(ring: DescriptorRing, buffers: readonly number[], size: number, c: Content): void {
    const { ram } = this.host;
    let done = 0;
    buffers.forEach((address, n) => {
      const part = address === 0 ? undefined : c.bytes.subarray(done, done + size);
      const length = part?.length ?? 0;
      if (part) ram.write(address, part);
      done += length;
      const last = done === c.bytes.length;
      const at = ring.address(n);
      if (part) {
        ram.writeU32(at + 8, length);
        ram.writeU16(at + 14, last ? c.tag : 0);
      }
      const end = last ? Status.END + c.status : 0;
      ram.writeU16(at + 12, part ? DESCRIPTOR_DONE + end : DESCRIPTOR_DONE);
    });
  }
}

function bufferBytes(rctl: number): number {
  const sizes = (rctl & E1000Rx.SIZE_EXTENDED) !== 0 ? EXTENDED_SIZES : SIZES;
  return sizes[(rctl >>> E1000RxField.SIZE) & 3];
}

/** As the guest gets it: as long as a frame is at least, without its tag if the card takes it. */
function contentOf(
  s: E1000State,
  frame: Uint8Array,
  passed: Passed,
  tag: number | undefined,
): Content {
  const strips = tag !== undefined && (s.ctrl & E1000Control.VLAN) !== 0;
  const stripped = strips ? withoutTag(frame) : Buffer.from(frame);
  const short = Math.max(SHORTEST - stripped.length, 0);
  const padded = short > 0 ? Buffer.concat([stripped, Buffer.alloc(short)]) : stripped;
  const inexact = passed === 'inexact' ? Status.INEXACT : 0;
  return {
    bytes: (s.rctl & E1000Rx.STRIP_CRC) !== 0 ? padded : withFcs(padded),
    status: Status.IGNORE_CHECKSUM + inexact + (strips ? Status.VLAN : 0),
    tag: strips ? tag : 0,
  };
}

function withFcs(frame: Buffer): Buffer {
  const whole = Buffer.alloc(frame.length + FCS);
  frame.copy(whole);
  whole.writeUInt32LE(crc32(frame), frame.length);
  return whole;
}
