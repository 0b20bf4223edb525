/** Netdevs and their filters, as the monitor shows them. */
import { deviceNotFound } from '../../base/errors.js';
import type { NetdevInfo } from '../../net/contract.js';
import type { Vm } from '../../vm/vm.js';
import type { NetworkControl } from '../vm.js';

export function networkControl({
  network,
  machine,
}: Pick<Vm, 'network' | 'machine'>): NetworkControl {
  return {
    get ids() {
      return network.netdevs.map(netdev => netdev.id);
    },
    info: () => network.netdevs.flatMap(netdev => netdevLines(netdev.info())),
    setLink: (id, up) => {
      const netdev = network.netdevs.find(one => one.id === id);
      if (!netdev) throw deviceNotFound(id);
      netdev.setLink(up);
    },
    add: spec => network.add(spec),
    del: id => network.del(id),
    announce: (schedule, ids) => {
      machine.checkAnnounceable();
      network.announce(schedule, ids);
    },
  };
}

function netdevLines(netdev: NetdevInfo): string[] {
  const words = [
    `type=${netdev.type}`,
    ...Object.entries(netdev.properties).map(([name, value]) => `${name}=${value}`),
    `link=${netdev.link}`,
  ];
  if (netdev.mac !== undefined) words.push(`mac=${netdev.mac}`);
  const filters = netdev.filters.map(f => {
    const properties = Object.entries(f.properties)
      .map(([name, value]) => `,${name}=${value}`)
      .join('');
    return `  - ${f.name}: type=${f.type},queue=${f.direction},status=${f.status}${properties}`;
  });
  return [`${netdev.id}: ${words.join(',')}`, ...filters];
}
