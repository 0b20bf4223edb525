/**
 * Connections that a dead peer may hold up: migration, NBD clients, sockets of character devices.
 */
import { VmError } from '../../base/errors.js';
import type { Vm } from '../../vm/vm.js';
import type { YankControl, YankInstance } from '../vm.js';

export function yankControl({
  block,
  chardevs,
  colo,
}: Pick<Vm, 'block' | 'chardevs' | 'colo'>): YankControl {
  const all = (): { instance: YankInstance; yank: () => void }[] => [
    ...block.graph.all().flatMap(({ name, driver }) =>
      driver.yank
        ? [
            {
              instance: { type: 'block-node' as const, 'node-name': name },
              yank: () => driver.yank?.(),
            },
          ]
        : [],
    ),
    ...chardevs
      .yankable()
      .map(id => ({ instance: { type: 'chardev' as const, id }, yank: () => chardevs.yank(id) })),
    ...(colo.migration.busy
      ? [{ instance: { type: 'migration' as const }, yank: () => colo.yank() }]
      : []),
  ];
  return {
    instances: () => all().map(({ instance }) => instance),
    yank: wanted => {
      const there = all();
      const found = wanted.map(want => {
        const match = there.find(({ instance }) => same(instance, want));
        if (!match)
          throw new VmError('Instance not found', {
            class: 'DeviceNotFound',
            hint: `${nameOf(want)} is not among those of query-yank.`,
          });
        return match;
      });
      for (const { yank } of found) yank();
    },
  };
}

const same = (a: YankInstance, b: YankInstance) => nameOf(a) === nameOf(b);

function nameOf(instance: YankInstance): string {
  switch (instance.type) {
    case 'block-node':
      return `block-node ${instance['node-name']}`;
    case 'chardev':
      return `chardev ${instance.id}`;
    case 'migration':
      return 'migration';
  }
}
