/** `-device virtio-net-pci`: what a network card takes. */
import { VmError } from '../../base/errors.js';
import { nothing } from '../../words/nothing.js';
import { optional, parsed, str } from '../../words/types.js';
import { bootIndex, deviceType } from '../device-type.js';
import { VirtioNet } from './virtio-net.js';

export const virtioNetPci = deviceType({
  name: 'virtio-net-pci',
  summary: 'a network card: the guest side of a -netdev',
  properties: {
    netdev: str('id of a -netdev', { complete: 'netdevs' }),
    mac: optional(
      parsed('hardware address; default: 52:54:00:12:34:56 and up', 'address', macAddress),
    ),
    bootindex: bootIndex,
    romfile: nothing([''], 'There is no option ROM for it. Say romfile= or leave it out.'),
    rombar: nothing(['0'], 'There is no option ROM. Leave it out.'),
    mq: nothing(['off'], 'A card has one pair of queues. Leave it out.'),
  },
  uses: { netdev: 'netdev' },
  example: 'netdev=hn0',
  plug(id, { netdev, mac, bootindex }, slots) {
    const backend = slots.netdev(netdev, `virtio-net-pci '${id}'`);
    const address =
      mac === undefined
        ? slots.nextMac()
        : Uint8Array.from(mac.split(':').map(pair => parseInt(pair, 16)));
    const path = (slot: string) => `ethernet@${slot}/ethernet-phy@0`;
    slots.addVirtio(id, new VirtioNet(backend, address), { index: bootindex, path });
  },
});

function macAddress(text: string, name: string): string {
  if (!/^[0-9a-f]{2}([:-][0-9a-f]{2}){5}$/i.test(text))
    throw new VmError(`${name}=${text} is not six pairs of hexadecimal digits`);
  const mac = text.toLowerCase().replaceAll('-', ':');
  if (parseInt(mac.slice(0, 2), 16) & 1)
    throw new VmError(`${name}=${text} is a multicast address`);
  return mac;
}
