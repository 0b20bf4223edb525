/** What every network card takes, whatever its chip. */
import { VmError } from '../../base/errors.js';
import { nothing } from '../../words/nothing.js';
import { optional, parsed, str } from '../../words/types.js';
import { bootIndex, type BootPlace, type DeviceSlots } from '../device-type.js';

export const nicProperties = {
  netdev: str('id of a -netdev', { complete: 'netdevs' }),
  mac: optional(
    parsed('hardware address; default: 52:54:00:12:34:56 and up', 'address', macAddress),
  ),
  bootindex: bootIndex,
  romfile: nothing([''], 'There is no option ROM for it. Say romfile= or leave it out.'),
  rombar: nothing(['0'], 'There is no option ROM. Leave it out.'),
};

/** mac: as the property has it. */
export function addressOfNic(mac: string | undefined, slots: DeviceSlots): Uint8Array {
  if (mac === undefined) return slots.nextMac();
  return Uint8Array.from(mac.split(':').map(pair => parseInt(pair, 16)));
}

export const bootPlaceOfNic = (index: number | undefined): BootPlace => ({
  index,
  path: slot => `ethernet@${slot}/ethernet-phy@0`,
});

function macAddress(text: string, name: string): string {
  if (!/^[0-9a-f]{2}([:-][0-9a-f]{2}){5}$/i.test(text))
    throw new VmError(`${name}=${text} is not six pairs of hexadecimal digits`);
  const mac = text.toLowerCase().replaceAll('-', ':');
  if (parseInt(mac.slice(0, 2), 16) & 1)
    throw new VmError(`${name}=${text} is a multicast address`);
  return mac;
}
