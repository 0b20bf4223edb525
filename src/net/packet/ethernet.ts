/**
 * Ethernet frames that we make ourselves: the RARP request (RFC 903) by which a moved guest shows
 * the switches where it is now.
 */
import { bytes, record, u16 } from '../../fields/field.js';

export const EtherType = { RARP: 0x8035 } as const;
/** Without the checksum, which the host's kernel or the wire adds. */
export const FRAME_BYTES_MIN = 60;
/** One frame through a tap: 64 KiB and its header. */
export const FRAME_BYTES_MAX = 65536 + 14;

const rarp = record({
  destination: bytes(6),
  source: bytes(6),
  etherType: u16.is(EtherType.RARP),
  hardware: u16.is(1), // Ethernet
  protocol: u16.is(0x0800), // IPv4
  lengths: u16.is(0x0604),
  operation: u16.is(3), // request reverse
  senderMac: bytes(6),
  senderIp: bytes(4),
  targetMac: bytes(6),
  targetIp: bytes(4),
});

export function rarpAnnounce(mac: Uint8Array): Buffer {
  const address = Buffer.from(mac);
  const packet = rarp.encode({
    ...rarp.reset(),
    destination: Buffer.alloc(6, 0xff),
    source: address,
    senderMac: address,
    targetMac: address,
  });
  return Buffer.concat([packet], FRAME_BYTES_MIN);
}
