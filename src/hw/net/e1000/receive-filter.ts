/**
 * Which frames an 82540EM takes (Software Developer's Manual, section 13.4.22 and 13.5): by its 16
 * addresses, by a hash of multicast ones, and by VLAN. Hot: per frame.
 */
import { lowBytes } from '../../../base/unsigned.js';
import { bytes, type Of, record } from '../../../fields/field.js';
import { E1000Rx, E1000RxField } from './registers.js';

const ADDRESSES = 16;
export const TABLE_BYTES = { addresses: 8 * ADDRESSES, multicast: 512, vlans: 512 } as const;
export const filterField = record({
  addresses: bytes(TABLE_BYTES.addresses),
  multicast: bytes(TABLE_BYTES.multicast),
  vlans: bytes(TABLE_BYTES.vlans),
});
export type FilterTables = Of<typeof filterField>;

/** In the high word of an address. */
const VALID = 0x80;
const ADDRESS = 6;
const GROUP = 0x01;
const TAG_AT = 12;
const VLAN_ID = 0x0fff;
const CFI = 0x1000;

/** The first address of the table is the card's. */
export function setCardAddress(tables: FilterTables, mac: Uint8Array): void {
  tables.addresses.set(mac, 0);
  tables.addresses[7] = VALID;
}

export const cardAddress = (tables: FilterTables): Uint8Array =>
  tables.addresses.subarray(0, ADDRESS);

/** exact: by an address of the table. */
export type Passed = 'exact' | 'inexact' | undefined;

export function passes(tables: FilterTables, rctl: number, frame: Uint8Array): Passed {
  if (hasAddress(tables.addresses, frame)) return 'exact';
  if ((frame[0] & GROUP) === 0) return (rctl & E1000Rx.UNICAST_ALL) !== 0 ? 'inexact' : undefined;
  if ((rctl & E1000Rx.MULTICAST_ALL) !== 0) return 'inexact';
  if (isBroadcast(frame) && (rctl & E1000Rx.BROADCAST) !== 0) return 'exact';
  return isHashed(tables.multicast, rctl, frame) ? 'inexact' : undefined;
}

/** Of a tagged frame. */
export function passesVlan(tables: FilterTables, rctl: number, tag: number): boolean {
  if ((rctl & E1000Rx.CFI_CHECK) !== 0 && ((tag & CFI) !== 0) !== ((rctl & E1000Rx.CFI) !== 0))
    return false;
  if ((rctl & E1000Rx.VLAN_FILTER) === 0) return true;
  const id = tag & VLAN_ID;
  return ((tables.vlans[id >> 3] >> (id & 7)) & 1) !== 0;
}

/** Undefined: the frame has none. vet: the type that says so. */
export function tagOf(frame: Uint8Array, vet: number): number | undefined {
  if (frame.length < TAG_AT + 4) return undefined;
  const type = (frame[TAG_AT] << 8) | frame[TAG_AT + 1];
  return type === (vet & 0xffff) ? (frame[TAG_AT + 2] << 8) | frame[TAG_AT + 3] : undefined;
}

export function withoutTag(frame: Uint8Array): Buffer {
  return Buffer.concat([frame.subarray(0, TAG_AT), frame.subarray(TAG_AT + 4)]);
}

export function withTag(frame: Uint8Array, vet: number, tag: number): Buffer {
  const inserted = Buffer.alloc(4);
  inserted.writeUInt16BE(lowBytes(vet, 2), 0);
  inserted.writeUInt16BE(tag, 2);
  return Buffer.concat([frame.subarray(0, TAG_AT), inserted, frame.subarray(TAG_AT)]);
}

function hasAddress(addresses: Buffer, frame: Uint8Array): boolean {
  for (let at = 0; at < addresses.length; at += 8) {
    if ((addresses[at + 7] & VALID) === 0) continue;
    let n = 0;
    while (n < ADDRESS && addresses[at + n] === frame[n]) n++;
    if (n === ADDRESS) return true;
  }
  return false;
}

function isBroadcast(frame: Uint8Array): boolean {
  for (let n = 0; n < ADDRESS; n++) if (frame[n] !== 0xff) return false;
  return true;
}

/** Twelve bits of the address: which, says RCTL. */
function isHashed(multicast: Buffer, rctl: number, frame: Uint8Array): boolean {
  const offset = (rctl >>> E1000RxField.MULTICAST_OFFSET) & 3;
  const shift = [4, 3, 2, 0][offset];
  const hash = (((frame[5] << 8) | frame[4]) >> shift) & 0xfff;
  return ((multicast[hash >> 3] >> (hash & 7)) & 1) !== 0;
}
