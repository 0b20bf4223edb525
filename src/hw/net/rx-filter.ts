/**
 * Which frames a NIC takes (virtio 1.1, section 5.1.6.5.1 and 5.1.6.5.2): promiscuous bits and
 * address tables, set by control commands.
 */
import { bool8, bytes, counted, record } from '../../fields/field.js';

export const ETHERNET_HEADER = 14;
const ADDRESS = 6;
const MAX_TABLE = 64;
const MULTICAST = 0x01;
const BROADCAST = Buffer.alloc(ADDRESS, 0xff);

export const rxFilterField = record({
  promiscuous: bool8,
  allMulticast: bool8,
  /** A table was too long for us: take everything of its kind. */
  unicastOverflow: bool8,
  multicastOverflow: bool8,
  unicast: counted(bytes(ADDRESS), MAX_TABLE),
  multicast: counted(bytes(ADDRESS), MAX_TABLE),
});
export type RxFilter = ReturnType<typeof rxFilterField.reset>;

/** Hot: per frame. */
export function accepts(filter: RxFilter, mac: Uint8Array, frame: Uint8Array): boolean {
  if (filter.promiscuous) return true;
  if ((frame[0] & MULTICAST) === 0)
    return (
      sameAddress(mac, frame) ||
      filter.unicastOverflow ||
      filter.unicast.some(a => sameAddress(a, frame))
    );
  return (
    filter.allMulticast ||
    filter.multicastOverflow ||
    sameAddress(BROADCAST, frame) ||
    filter.multicast.some(a => sameAddress(a, frame))
  );
}

function sameAddress(a: Uint8Array, b: Uint8Array): boolean {
  for (let i = 0; i < ADDRESS; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** VIRTIO_NET_CTRL_MAC_TABLE_SET: two tables, each a count and its addresses. False: malformed. */
export function setTables(filter: RxFilter, data: Buffer): boolean {
  const unicast = takeTable(data, 0);
  const multicast = unicast && takeTable(data, unicast.end);
  if (!multicast) return false;
  filter.unicastOverflow = unicast.addresses.length > MAX_TABLE;
  filter.multicastOverflow = multicast.addresses.length > MAX_TABLE;
  filter.unicast = filter.unicastOverflow ? [] : unicast.addresses;
  filter.multicast = filter.multicastOverflow ? [] : multicast.addresses;
  return true;
}

function takeTable(data: Buffer, at: number): { addresses: Buffer[]; end: number } | undefined {
  if (at + 4 > data.length) return undefined;
  const count = data.readUInt32LE(at);
  const end = at + 4 + ADDRESS * count;
  if (end > data.length) return undefined;
  const addresses = Array.from({ length: count }, (_, i) =>
    Buffer.from(data.subarray(at + 4 + ADDRESS * i, at + 4 + ADDRESS * (i + 1))),
  );
  return { addresses, end };
}
