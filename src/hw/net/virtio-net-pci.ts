/** `-device virtio-net-pci`: what a network card takes. */
import { nothing } from '../../words/nothing.js';
import { deviceType } from '../device-type.js';
import { addressOfNic, bootPlaceOfNic, nicProperties } from './nic-properties.js';
import { VirtioNet } from './virtio-net.js';

export const virtioNetPci = deviceType({
  name: 'virtio-net-pci',
  summary: 'a network card: the guest side of a -netdev',
  properties: {
    ...nicProperties,
    mq: nothing(['off'], 'A card has one pair of queues. Leave it out.'),
  },
  uses: { netdev: 'netdev' },
  example: 'netdev=hn0',
  plug(id, { netdev, mac, bootindex }, slots) {
    const backend = slots.netdev(netdev, `virtio-net-pci '${id}'`);
    const model = new VirtioNet(backend, addressOfNic(mac, slots));
    slots.addVirtio(id, model, bootPlaceOfNic(bootindex));
  },
});
