/** `-device e1000`: the same card as QEMU's of that name. */
import { deviceType } from '../../device-type.js';
import { addressOfNic, bootPlaceOfNic, nicProperties } from '../nic-properties.js';
import { E1000 } from './e1000.js';

export const e1000Device = deviceType({
  name: 'e1000',
  summary: 'an Intel 82540EM: a network card that most guests have a driver for',
  properties: nicProperties,
  uses: { netdev: 'netdev' },
  example: 'netdev=hn0',
  plug(id, { netdev, mac, bootindex }, slots) {
    const backend = slots.netdev(netdev, `e1000 '${id}'`);
    const card = new E1000(id, slots.ram, slots.clock, backend, addressOfNic(mac, slots));
    slots.addPci(card, bootPlaceOfNic(bootindex));
  },
});
