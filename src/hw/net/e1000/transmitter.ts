/**
 * Guest to world (Software Developer's Manual, section 3.3): what the transmit ring holds becomes
 * frames. A packet is taken when its last descriptor is there, so nothing of it is kept but how
 * many of its frames have left. A frame that the netdev does not take stays in the ring.
 */
import type { GuestMemory } from '../../../accel/contract.js';
import type { Turn } from '../../turn.js';
import { addressOf, DESCRIPTOR_DONE, DescriptorRing } from './descriptors.js';
import {
  contextOf,
  insertChecksum,
  insertChecksums,
  type OffloadContext,
  pieceCount,
  pieceOf,
} from './offload.js';
import { withTag } from './receive-filter.js';
import { E1000Cause, E1000Control, E1000Tx } from './registers.js';
import type { E1000State } from './state.js';
import { countSent } from './statistics.js';

const Command = {
  END: 0x01,
  /** In a descriptor of the old kind: a checksum. In one of data: the packet is cut. */
  CHECKSUM_OR_CUT: 0x04,
  REPORT: 0x08,
  REPORT_SENT: 0x10,
  EXTENDED: 0x20,
  VLAN: 0x40,
} as const;
const DATA = 0x0010_0000;
const ETHERNET_HEADER = 14;
const SHORTEST = 60;
/** A packet that is longer, or in more pieces, is dropped. */
const MAX_PACKET = 0x4_0100;
const MAX_DESCRIPTORS = 4096;

export interface TransmitHost {
  readonly ram: GuestMemory;
  readonly turn: Turn;
  /** False: no room now. */
  send(frame: Buffer): boolean;
}

/** Descriptors from the head on. */
interface Gathered {
  count: number;
  /** Those that shall say that they are done, and what they said before. */
  readonly reports: { n: number; status: number }[];
  readonly parts: Buffer[];
  bytes: number;
  contexts: OffloadContext[];
  /** Words 2 and 3 of the first one with data. */
  first: readonly [number, number] | undefined;
  /** The same of the last one: it ends the packet. */
  last: readonly [number, number] | undefined;
  /** It is no packet. */
  bad: boolean;
}

export class Transmitter {
  /** The netdev has no room. */
  blocked = false;

  constructor(private readonly host: TransmitHost) {}

  /** Returns what it is a cause of. */
  run(s: E1000State): number {
    let causes = 0;
    while (!this.blocked && (s.tctl & E1000Tx.ENABLE) !== 0 && this.host.turn.open) {
      const ring = new DescriptorRing(this.host.ram, {
        low: s.tdbal,
        high: s.tdbah,
        length: s.tdlen,
        head: s.tdh,
        tail: s.tdt,
      });
      const gathered = ring.filled > 0 ? this.gather(s, ring) : undefined;
      if (!gathered || !this.send(s, gathered)) break;
      causes |= this.finish(s, ring, gathered);
    }
    return causes;
  }

  /** A packet, a context, or what is neither. Undefined: there is no more, or no end yet. */
  private gather(s: E1000State, ring: DescriptorRing): Gathered | undefined {
    const g: Gathered = {
      count: 0,
      reports: [],
      parts: [],
      bytes: 0,
      contexts: [...s.contexts],
      first: undefined,
      last: undefined,
      bad: s.discarding,
    };
    while (g.count < ring.filled && g.count < MAX_DESCRIPTORS && !g.last) {
      const words = ring.read(g.count);
      if (!words) return undefined;
      this.take(g, words);
      if (!g.first && !g.bad) break;
    }
    this.host.turn.spend(g.count, g.bytes);
    if (g.last || (!g.first && !g.bad)) return g;
    if (!g.bad && !ring.full && g.count < MAX_DESCRIPTORS) return undefined;
    g.bad = true;
    return g;
  }

  private take(g: Gathered, words: readonly number[]): void {
    const [, , control, rest] = words;
    const command = control >>> 24;
    if ((command & (Command.REPORT | Command.REPORT_SENT)) !== 0)
      g.reports.push({ n: g.count, status: rest & 0xff });
    g.count++;
    const extended = (command & Command.EXTENDED) !== 0;
    if (extended && (control & 0x00f0_0000) !== DATA) {
      g.contexts[(command & Command.CHECKSUM_OR_CUT) !== 0 ? 1 : 0] = contextOf(words);
      return;
    }
    g.first ??= [control, rest];
    if ((command & Command.END) !== 0) g.last = [control, rest];
    const length = control & (extended ? 0x000f_ffff : 0xffff);
    const fits = !g.bad && g.bytes + length <= MAX_PACKET;
    const part = fits ? this.host.ram.read(addressOf(words), length) : undefined;
    if (!part) {
      g.bad = true;
      return;
    }
    g.parts.push(part);
    g.bytes += length;
  }

  /** False: the rest of its frames waits. */
  private send(s: E1000State, g: Gathered): boolean {
    if (g.bad || !g.first || !g.last) return true;
    const { turn } = this.host;
    const packet = Buffer.concat(g.parts);
    const cut = isCut(g.first);
    const total = cut ? pieceCount(packet.length, g.contexts[1]) : 1;
    for (; s.framesSent < total; s.framesSent++) {
      if (!turn.open) return false;
      const frame = cut
        ? pieceOf(packet, g.contexts[1], optionsOf(g.first), s.framesSent)
        : whole(packet, g);
      turn.spend(0, frame.length);
      if (frame.length < ETHERNET_HEADER) continue;
      const sent = finished(frame, s, g.last);
      if (!this.host.send(sent)) {
        this.blocked = true;
        return false;
      }
      countSent(s.statistics, sent);
    }
    return true;
  }

  private finish(s: E1000State, ring: DescriptorRing, g: Gathered): number {
    for (const { n, status } of g.reports)
      this.host.ram.writeU8(ring.address(n) + 12, status | DESCRIPTOR_DONE);
    s.tdh = ring.headAfter(g.count);
    s.framesSent = 0;
    s.contexts = g.contexts;
    s.discarding = g.bad && !g.last;
    const written = g.reports.length > 0 ? E1000Cause.WRITTEN_BACK : 0;
    return written + (s.tdh === s.tdt ? E1000Cause.QUEUE_EMPTY : 0);
  }
}

const commandOf = ([control]: readonly [number, number]) => control >>> 24;
const optionsOf = ([, rest]: readonly [number, number]) => (rest >>> 8) & 0xff;

function isCut(first: readonly [number, number]): boolean {
  const wanted = Command.EXTENDED | Command.CHECKSUM_OR_CUT;
  return (commandOf(first) & wanted) === wanted;
}

/** With the checksums that were asked for: by the last descriptor, if it is of the old kind. */
function whole(packet: Buffer, { first, last, contexts }: Gathered): Buffer {
  if (!first || !last) return packet;
  if ((commandOf(first) & Command.EXTENDED) !== 0)
    insertChecksums(packet, contexts[0], optionsOf(first));
  else if ((commandOf(last) & Command.CHECKSUM_OR_CUT) !== 0)
    insertChecksum(packet, optionsOf(last), (last[0] >>> 16) & 0xff, 0);
  return packet;
}

/** As it goes on the wire, but for its checksum there. */
function finished(frame: Buffer, s: E1000State, last: readonly [number, number]): Buffer {
  const tags = (s.ctrl & E1000Control.VLAN) !== 0 && (commandOf(last) & Command.VLAN) !== 0;
  const tagged = tags ? withTag(frame, s.vet, last[1] >>> 16) : frame;
  if (tagged.length >= SHORTEST || (s.tctl & E1000Tx.PAD_SHORT) === 0) return tagged;
  return Buffer.concat([tagged, Buffer.alloc(SHORTEST - tagged.length)]);
}
