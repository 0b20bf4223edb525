/**
 * Connections that a dead peer may hold up: migration, NBD clients, sockets of character devices.
 */
import { VmError } from '../base/errors.js';
import type { Vm } from './vm.js';

/** A connection that may wait for a peer that is dead (QAPI YankInstance). */
export type YankInstance =
  | { readonly type: 'block-node'; readonly 'node-name': string }
  | { readonly type: 'chardev'; readonly id: string }
  | { readonly type: 'migration' };

type Yankable = { readonly instance: YankInstance; yank(): void };
type Connected = Pick<Vm, 'block' | 'chardevs' | 'colo'>;

export const yankInstances = (vm: Connected): YankInstance[] =>
  yankables(vm).map(({ instance }) => instance);

/**
 * Ends these connections now. Where one of them does not exist: DeviceNotFound, and none is ended.
 */
export function yank(vm: Connected, wanted: readonly YankInstance[]): void {
  const there = yankables(vm);
  const found = wanted.map(want => {
    const match = there.find(({ instance }) => nameOf(instance) === nameOf(want));
    if (!match)
      throw new VmError('Instance not found', {
        class: 'DeviceNotFound',
        hint: `${nameOf(want)} is not among those of query-yank.`,
      });
    return match;
  });
  for (const one of found) one.yank();
}

function yankables({ block, chardevs, colo }: Connected): Yankable[] {
  const nodes = block.graph.all().filter(({ driver }) => driver.yank);
  return [
    ...nodes.map(({ name, driver }) => ({
      instance: { type: 'block-node' as const, 'node-name': name },
      yank: () => driver.yank?.(),
    })),
    ...chardevs.yankable().map(id => ({
      instance: { type: 'chardev' as const, id },
      yank: () => chardevs.yank(id),
    })),
    ...(colo.migration.busy
      ? [{ instance: { type: 'migration' as const }, yank: () => void colo.yank() }]
      : []),
  ];
}

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
