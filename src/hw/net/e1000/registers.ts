/**
 * Registers of an 82540EM (Intel PCI/PCI-X Family of Gigabit Ethernet Controllers, Software
 * Developer's Manual, chapter 13): where they are, what their bits mean, and those that are nothing
 * but 32 bits that are kept.
 */
import { type NumberField, u32 } from '../../../fields/field.js';

export const E1000Reg = {
  STATUS: 0x0008,
  EECD: 0x0010,
  EERD: 0x0014,
  MDIC: 0x0020,
  ICR: 0x00c0,
  ICS: 0x00c8,
  IMS: 0x00d0,
  IMC: 0x00d8,
  RDT: 0x2818,
  TDT: 0x3818,
  STATISTICS: 0x4000,
  MULTICAST: 0x5200,
  ADDRESSES: 0x5400,
  VLANS: 0x5600,
  END: 0x20000,
} as const;

export const E1000Control = {
  LINK_UP: 0x0000_0040,
  FULL_DUPLEX: 0x0000_0001,
  GIGABIT: 0x0000_0200,
  RESET: 0x0400_0000,
  VLAN: 0x4000_0000,
  PHY_RESET: 0x8000_0000,
} as const;
/** Full duplex, link up, 1000 Mb/s: a cable that is always in. */
export const STATUS_VALUE = 0x0000_0083;
export const E1000Cause = {
  WRITTEN_BACK: 0x0000_0001,
  QUEUE_EMPTY: 0x0000_0002,
  LINK: 0x0000_0004,
  RX_FEW: 0x0000_0010,
  RX: 0x0000_0080,
  MDIO: 0x0000_0200,
} as const;
/** Of the interrupt registers. */
export const CAUSES = 0x0001_ffff;
export const E1000Rx = {
  ENABLE: 0x0000_0002,
  UNICAST_ALL: 0x0000_0008,
  MULTICAST_ALL: 0x0000_0010,
  LONG: 0x0000_0020,
  LOOPBACK: 0x0000_00c0,
  BROADCAST: 0x0000_8000,
  VLAN_FILTER: 0x0004_0000,
  CFI_CHECK: 0x0008_0000,
  CFI: 0x0010_0000,
  SIZE_EXTENDED: 0x0200_0000,
  STRIP_CRC: 0x0400_0000,
} as const;
/** Fields of RCTL: where they begin, each two bits wide. */
export const E1000RxField = { FEW: 8, MULTICAST_OFFSET: 12, SIZE: 16 } as const;
export const E1000Tx = { ENABLE: 0x02, PAD_SHORT: 0x08 } as const;

interface Kept {
  readonly at: number;
  readonly mask: number;
  readonly initial: number;
}
const kept = (at: number, mask = 0xffff_ffff, initial = 0): Kept => ({ at, mask, initial });
const RING_LOW = 0xffff_fff0;
const RING_LENGTH = 0x000f_ff80;
const INDEX = 0xffff;

export const keptRegisters = {
  ctrl: kept(
    0x0000,
    0x7bff_ffff,
    E1000Control.LINK_UP + E1000Control.FULL_DUPLEX + E1000Control.GIGABIT,
  ),
  ctrlExt: kept(0x0018),
  fcal: kept(0x0028),
  fcah: kept(0x002c),
  fct: kept(0x0030),
  vet: kept(0x0038, 0xffff_ffff, 0x8100),
  itr: kept(0x00c4, 0xffff),
  rctl: kept(0x0100),
  fcttv: kept(0x0170),
  txcw: kept(0x0178),
  tctl: kept(0x0400),
  tipg: kept(0x0410),
  ait: kept(0x0458),
  ledctl: kept(0x0e00, 0xffff_ffff, 0x0706_8302),
  pba: kept(0x1000, 0xffff_ffff, 0x0010_0030),
  fcrtl: kept(0x2160),
  fcrth: kept(0x2168),
  rdbal: kept(0x2800, RING_LOW),
  rdbah: kept(0x2804),
  rdlen: kept(0x2808, RING_LENGTH),
  rdh: kept(0x2810, INDEX),
  rdt: kept(E1000Reg.RDT, INDEX),
  rdtr: kept(0x2820, INDEX),
  rxdctl: kept(0x2828),
  radv: kept(0x282c, INDEX),
  rsrpd: kept(0x2c00),
  txdmac: kept(0x3000),
  tdbal: kept(0x3800, RING_LOW),
  tdbah: kept(0x3804),
  tdlen: kept(0x3808, RING_LENGTH),
  tdh: kept(0x3810, INDEX),
  tdt: kept(E1000Reg.TDT, INDEX),
  tidv: kept(0x3820, INDEX),
  txdctl: kept(0x3828),
  tadv: kept(0x382c, INDEX),
  tspmt: kept(0x3830),
  rxcsum: kept(0x5000),
  wuc: kept(0x5800),
  wufc: kept(0x5808),
  manc: kept(0x5820),
} as const satisfies Record<string, Kept>;

export type KeptName = keyof typeof keptRegisters;
const entries = Object.entries(keptRegisters) as [KeptName, Kept][];

export const keptAt: ReadonlyMap<number, KeptName> = new Map(
  entries.map(([name, { at }]) => [at, name]),
);

/** Of the state. */
export const keptFields = Object.fromEntries(
  entries.map(([name, { mask, initial }]) => [name, u32.mask(mask).initially(initial)]),
) as Record<KeptName, NumberField>;
