/**
 * The pcap file format (draft-ietf-opsawg-pcap), version 2.4: a header of 24 bytes, then records of
 * Ethernet frames.
 */
import { VmError } from '../../base/errors.js';
import { le, record } from '../../fields/field.js';

/** In the byte order of the writer; the second counts nanoseconds. */
const magics = { micro: 0xa1b2c3d4, nano: 0xa1b23c4d } as const;
const LINK_TYPE_ETHERNET = 1;

const header = record({
  magic: le.u32,
  major: le.u16,
  minor: le.u16,
  zone: le.u32,
  sigfigs: le.u32,
  snaplen: le.u32,
  linkType: le.u32,
});
const recordHeader = record({ seconds: le.u32, micros: le.u32, captured: le.u32, length: le.u32 });

export const PCAP_HEADER_BYTES = 24;
export const PCAP_RECORD_HEADER_BYTES = 16;

export function pcapHeader(snaplen: number): Buffer {
  return header.encode({
    magic: magics.micro,
    major: 2,
    minor: 4,
    zone: 0,
    sigfigs: 0,
    snaplen,
    linkType: LINK_TYPE_ETHERNET,
  });
}

/** One frame, cut to snaplen. */
export function pcapRecord(frame: Uint8Array, wallMs: number, snaplen: number): Buffer {
  const captured = Math.min(frame.length, snaplen);
  const micros = Math.floor(wallMs * 1000);
  const head = recordHeader.encode({
    seconds: Math.floor(micros / 1e6) % 2 ** 32,
    micros: micros % 1e6,
    captured,
    length: frame.length,
  });
  return Buffer.concat([head, frame.subarray(0, captured)]);
}

export interface PcapFormat {
  readonly littleEndian: boolean;
  readonly nanoseconds: boolean;
}

/** VmError: it is no pcap file, or one of something else than Ethernet. */
export function readPcapHeader(bytes: Buffer): PcapFormat {
  if (bytes.length < PCAP_HEADER_BYTES) throw new VmError('it is too short for a pcap file');
  for (const littleEndian of [true, false]) {
    const u32 = (at: number) => (littleEndian ? bytes.readUInt32LE(at) : bytes.readUInt32BE(at));
    const magic = u32(0);
    if (magic !== magics.micro && magic !== magics.nano) continue;
    const linkType = u32(20) & 0x0fff_ffff;
    if (linkType !== LINK_TYPE_ETHERNET)
      throw new VmError(`its packets are no Ethernet frames (link type ${linkType})`);
    return { littleEndian, nanoseconds: magic === magics.nano };
  }
  throw new VmError('it is not a pcap file', { hint: 'Convert it: editcap -F pcap IN OUT.' });
}

export function readPcapRecord(
  bytes: Buffer,
  { littleEndian, nanoseconds }: PcapFormat,
): { ms: number; captured: number } {
  const u32 = (at: number) => (littleEndian ? bytes.readUInt32LE(at) : bytes.readUInt32BE(at));
  return { ms: u32(0) * 1000 + u32(4) / (nanoseconds ? 1e6 : 1e3), captured: u32(8) };
}
