/** The packet filters of a netdev, as objects. */
import type { Disposable } from '../../base/disposable.js';
import { VmError } from '../../base/errors.js';
import type { FilterPlace, FilterPort, NetFilter } from '../../net/contract.js';
import { TimedBuffer } from '../../net/filter/timed-buffer.js';
import { int, oneOf, optional, str } from '../types.js';
import type { ArgsOf } from '../types.js';
import { objectType } from './type.js';
import type { ObjectWorld } from './type.js';

const onOff = ['on', 'off'] as const;
const maxIntervalUs = 0xffff_ffff;

const common = {
  netdev: str('netdev whose packets it filters', { complete: 'netdevs' }),
  queue: optional(oneOf(['all', 'rx', 'tx'], 'rx: what the guest sends; tx: what it receives; default: all', { name: 'NetFilterDirection' })),
  status: optional(oneOf(onOff, 'off: packets go past it; default: on')),
  position: optional(str('head: next to the world (the default filter-buffer stays in front of it); tail: next to the guest (default); id=FILTER')),
  insert: optional(oneOf(['before', 'behind'], 'with position=id=FILTER: on the side of the head, or (default) of the tail', { name: 'NetfilterInsert' })),
};
type Common = ArgsOf<typeof common>;
const defaults = { queue: 'all', status: 'on', position: 'tail', insert: 'behind' } as const;

/** A filter in the chain of its netdev. */
interface Filter extends NetFilter, Disposable {
  attach(port: FilterPort): void;
  setOn(on: boolean): void;
}

const changes = { status: (placed: Placed<Filter>, value: 'on' | 'off') => placed.filter.setOn(value === 'on') };

export const filterTypes = [
  objectType({
    name: 'filter-buffer',
    summary: 'keeps packets, and lets them go together each interval',
    notes: ['COLO needs none: the output of every netdev is held by a filter-buffer of its own, named nop.'],
    fields: { ...common, interval: int('microseconds between two times that packets leave', { min: 1, max: maxIntervalUs }) },
    phase: 'late',
    defaults,
    changes: { ...changes, interval: (placed: Placed<TimedBuffer>, value: number) => placed.filter.setInterval(value) },
    counters: { packets: { summary: 'waiting now', read: (placed: Placed<TimedBuffer>) => placed.filter.packets } },
    create: (id, given, world) => place('filter-buffer', new TimedBuffer(id, given.queue ?? 'all', given.interval, world.host.clock), given, world),
  }),
];

/** A filter and its place; both end together. */
class Placed<F extends Filter> implements Disposable {
  constructor(
    readonly filter: F,
    private readonly leave: () => void,
  ) {}

  dispose(): void {
    this.filter.dispose();
    this.leave();
  }
}

function place<F extends Filter>(type: string, filter: F, given: Common, world: ObjectWorld): Placed<F> {
  const at = placeOf(given);
  const claim = netdevOf(given.netdev, `${type} '${filter.name}'`, world);
  try {
    filter.attach(claim.value.filters.insert(filter, at));
  } catch (error) {
    claim.dispose();
    throw error;
  }
  filter.setOn(given.status !== 'off');
  return new Placed(filter, () => {
    claim.value.filters.remove(filter);
    claim.dispose();
  });
}

function netdevOf(id: string, user: string, world: ObjectWorld) {
  try {
    return world.netdev(id, user);
  } catch (error) {
    if (error instanceof VmError && error.class === 'DeviceNotFound') throw new VmError("Parameter 'netdev' expects a network backend id", { hint: `There is no netdev '${id}'.` });
    throw error;
  }
}

function placeOf({ position = 'tail', insert = 'behind' }: Common): FilterPlace {
  if (position === 'head' || position === 'tail') return position;
  if (!position.startsWith('id=')) throw new VmError("Parameter 'position' expects 'head', 'tail' or 'id=<id>'");
  return { insert, id: position.slice(3) };
}
