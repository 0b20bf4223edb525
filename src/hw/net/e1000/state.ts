/** The live state of an 82540EM: what the guest can see of it, and how far a packet has left. */
import { array, bool8, u32 } from '../../../fields/field.js';
import { vmstate } from '../../../fields/vmstate.js';
import type { StateOf } from '../../device.js';
import { configField } from '../../pci/config-space.js';
import { eepromField } from './eeprom.js';
import { contextField } from './offload.js';
import { phyField } from './phy.js';
import { filterField } from './receive-filter.js';
import { CAUSES, keptFields } from './registers.js';
import { COUNTERS } from './statistics.js';

export const e1000State = vmstate('e1000', 1, {
  config: configField,
  ...keptFields,
  icr: u32.mask(CAUSES),
  ims: u32.mask(CAUSES),
  /** IOADDR: the register that IODATA is. */
  ioAddress: u32.mask(0x1_fffc),
  eeprom: eepromField,
  phy: phyField,
  filter: filterField,
  statistics: array(u32, COUNTERS),
  /** Of frames that go as they are, and of packets that are cut. */
  contexts: array(contextField, 2),
  /** Frames of the packet at TDH that have left: the netdev had no room for the next. */
  framesSent: u32,
  /** The rest of a packet that is none, up to its end. */
  discarding: bool8,
});
export type E1000State = StateOf<typeof e1000State>;
