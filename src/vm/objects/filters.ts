/** The packet filters of a netdev, as objects. */
import { Disposables } from '../../base/disposable.js';
import type { Disposable } from '../../base/disposable.js';
import { VmError } from '../../base/errors.js';
import type { CharBackend } from '../../chardev/contract.js';
import type { FilterPlace, FilterPort, NetFilter } from '../../net/contract.js';
import { Dump } from '../../net/filter/dump.js';
import { Mirror } from '../../net/filter/mirror.js';
import type { Outlet } from '../../net/filter/outlet.js';
import { Redirector } from '../../net/filter/redirector.js';
import { Replay } from '../../net/filter/replay.js';
import { FilterBuffer } from '../../net/filter/buffer.js';
import { bool, int, oneOf, optional, str } from '../../words/types.js';
import type { ArgsOf } from '../../words/types.js';
import { objectType } from './type.js';
import type { ObjectContext } from './type.js';

const onOff = ['on', 'off'] as const;
const MAX_INTERVAL_US = 0xffff_ffff;

const common = {
  netdev: str('netdev whose packets it filters', { complete: 'netdevs' }),
  queue: optional(
    oneOf(['all', 'rx', 'tx'], 'rx: what the guest sends; tx: what it receives; default: all', {
      name: 'NetFilterDirection',
    }),
  ),
  status: optional(oneOf(onOff, 'off: packets go past it; default: on')),
  position: optional(
    str(
      'head: next to the world (the default filter-buffer stays in front of it); tail: next ' +
        'to the guest (default); id=FILTER',
    ),
  ),
  insert: optional(
    oneOf(
      ['before', 'behind'],
      'with position=id=FILTER: on the side of the head, or (default) of the tail',
      { name: 'NetfilterInsert' },
    ),
  ),
};
type Common = ArgsOf<typeof common>;
const defaults = { queue: 'all', status: 'on', position: 'tail', insert: 'behind' } as const;

/** A filter in the chain of its netdev. */
interface Filter extends NetFilter, Disposable {
  /** After dispose: settles when what it wrote is where it belongs. */
  readonly closed?: Promise<void>;
  attach(port: FilterPort): void;
  setOn(on: boolean): void;
}

const changes = {
  status: (placed: Placed<Filter>, value: 'on' | 'off') => placed.filter.setOn(value === 'on'),
};

const noVnetHeader = optional(bool('off: the network cards of this machine have no vnet header'));

export const filterTypes = [
  objectType({
    name: 'filter-buffer',
    summary: 'keeps packets, and lets them go together each interval',
    notes: [
      'COLO needs none: the output of every netdev is held by a filter-buffer of its own, ' +
        'named nop.',
    ],
    fields: {
      ...common,
      interval: int('microseconds between two times that packets leave', {
        min: 1,
        max: MAX_INTERVAL_US,
      }),
    },
    phase: 'late',
    defaults,
    changes: {
      ...changes,
      interval: (placed: Placed<FilterBuffer>, value: number) => placed.filter.setInterval(value),
    },
    counters: {
      packets: {
        summary: 'waiting now',
        read: (placed: Placed<FilterBuffer>) => placed.filter.packets,
      },
    },
    create: (id, given, context) =>
      place(
        { type: 'filter-buffer', id },
        given,
        context,
        () => new FilterBuffer(id, directionOf(given), given.interval, context.host.clock),
      ),
  }),
  objectType({
    name: 'filter-mirror',
    summary: 'sends a copy of each packet to a character device',
    notes: [
      'In COLO the copy of a packet from the guest leaves when the packet does. Copies that ' +
        'the reader does not take are dropped and counted.',
    ],
    fields: {
      ...common,
      outdev: str('chardev that gets the copies', { complete: 'chardevs' }),
      vnet_hdr_support: noVnetHeader,
    },
    phase: 'late',
    defaults: { ...defaults, vnet_hdr_support: false },
    changes,
    counters: outletCounters((placed: Placed<Mirror>) => placed.filter.outlet),
    create: (id, given, context) => {
      refuseVnetHeader(given.vnet_hdr_support);
      return place(
        { type: 'filter-mirror', id },
        given,
        context,
        use => new Mirror(id, directionOf(given), use(given.outdev)),
      );
    },
  }),
  objectType({
    name: 'filter-redirector',
    summary: 'sends packets to a character device instead of on, and takes packets from another',
    notes: [
      'In COLO a packet from the guest goes to outdev when it may leave; what indev sends ' +
        'toward the world is held as well.',
    ],
    fields: {
      ...common,
      indev: optional(str('chardev whose packets come in here', { complete: 'chardevs' })),
      outdev: optional(str('chardev that gets the packets', { complete: 'chardevs' })),
      vnet_hdr_support: noVnetHeader,
    },
    phase: 'late',
    defaults: { ...defaults, vnet_hdr_support: false },
    changes,
    counters: {
      ...outletCounters((placed: Placed<Redirector>) => placed.filter.outlet),
      received: {
        summary: 'packets from indev',
        read: (placed: Placed<Redirector>) => placed.filter.received,
      },
    },
    create: (id, given, context) => {
      refuseVnetHeader(given.vnet_hdr_support);
      const { indev, outdev } = given;
      if (indev === undefined && outdev === undefined)
        throw new VmError("filter redirector needs 'indev' or 'outdev' at least one property set");
      if (indev === outdev)
        throw new VmError("'indev' and 'outdev' could not be same for filter redirector");
      const end = (use: Use, device: string | undefined) =>
        device === undefined ? undefined : use(device);
      return place(
        { type: 'filter-redirector', id },
        given,
        context,
        use =>
          new Redirector(
            id,
            directionOf(given),
            { indev: end(use, indev), outdev: end(use, outdev) },
            line => context.note(line),
          ),
      );
    },
  }),
  objectType({
    name: 'filter-dump',
    summary: 'writes packets to a pcap file',
    notes: [
      'What the guest sends is written when it comes by, held by COLO or not. Packets that ' +
        'the disk does not take are counted.',
    ],
    fields: {
      ...common,
      file: str('the file; what it holds is lost', { complete: 'files' }),
      maxlen: optional(
        int('bytes of each packet that are kept; default: 65536', { min: 1, max: 0x7fff_ffff }),
      ),
    },
    phase: 'late',
    defaults: { ...defaults, maxlen: 65_536 },
    changes,
    counters: {
      written: {
        summary: 'packets in the file',
        read: (placed: Placed<Dump>) => placed.filter.written,
      },
      dropped: {
        summary: 'packets that were lost',
        read: (placed: Placed<Dump>) => placed.filter.dropped,
      },
    },
    create: (id, given, context) =>
      place({ type: 'filter-dump', id }, given, context, async () => {
        const file = await context.host.files.open(given.file, {
          readOnly: false,
          lock: 'auto',
          create: true,
        });
        return Dump.create(
          id,
          directionOf(given),
          file,
          given.maxlen ?? 65_536,
          clockAndNote(context),
        );
      }),
  }),
  objectType({
    name: 'filter-replay',
    summary: 'plays the packets of a pcap file to the guest, as far apart as they were recorded',
    notes: [
      'queue=rx plays them to the world instead. QEMU has a filter of this name for its ' +
        'record and replay of a whole run, which colo does not have.',
    ],
    fields: { ...common, file: str('the pcap file', { complete: 'files' }) },
    phase: 'late',
    defaults: { ...defaults, queue: 'tx' },
    changes,
    counters: {
      replayed: {
        summary: 'packets so far',
        read: (placed: Placed<Replay>) => placed.filter.replayed,
      },
    },
    create: (id, given, context) =>
      place({ type: 'filter-replay', id }, given, context, async () => {
        const file = await context.host.files.open(given.file, { readOnly: true, lock: 'none' });
        return Replay.create(id, given.queue ?? 'tx', file, clockAndNote(context));
      }),
  }),
];

const directionOf = ({ queue = 'all' }: Common) => queue;
const clockAndNote = (context: ObjectContext) => ({
  clock: context.host.clock,
  note: (line: string) => context.note(line),
});

function outletCounters<V>(outlet: (object: V) => Outlet | undefined) {
  return {
    sent: {
      summary: 'packets that the chardev took',
      read: (object: V) => outlet(object)?.sent ?? 0,
    },
    dropped: {
      summary: 'packets that it did not take',
      read: (object: V) => outlet(object)?.dropped ?? 0,
    },
  };
}

function refuseVnetHeader(asked: boolean | undefined): void {
  if (asked)
    throw new VmError(
      'vnet_hdr_support=on is not supported: the network cards of colo have no vnet header',
      { hint: 'Use vnet_hdr_support=off, on both ends of the channel.' },
    );
}

/** Takes a chardev for the filter that is being made. */
type Use = (chardev: string) => CharBackend;

/** A filter and its place; both end together, and what they used is free again. */
class Placed<F extends Filter> implements Disposable {
  constructor(
    readonly filter: F,
    private readonly claims: Disposables,
  ) {}

  get closed(): Promise<void> | undefined {
    return this.filter.closed;
  }

  dispose(): void {
    this.filter.dispose();
    this.claims.dispose();
  }
}

/** Whatever fails, nothing stays claimed or open. */
async function place<F extends Filter>(
  { type, id }: { type: string; id: string },
  given: Common,
  context: ObjectContext,
  make: (use: Use) => F | Promise<F>,
): Promise<Placed<F>> {
  const at = placeOf(given);
  const user = `${type} '${id}'`;
  const claims = new Disposables();
  try {
    const { filters } = claims.add(netdevOf(given.netdev, user, context)).value;
    const filter = await make(chardev => claims.add(context.chardev(chardev, user)).value);
    try {
      filter.attach(filters.insert(filter, at));
    } catch (error) {
      filter.dispose();
      throw error;
    }
    claims.defer(() => filters.remove(filter));
    filter.setOn(given.status !== 'off');
    return new Placed(filter, claims);
  } catch (error) {
    claims.dispose();
    throw error;
  }
}

function netdevOf(id: string, user: string, context: ObjectContext) {
  try {
    return context.netdev(id, user);
  } catch (error) {
    if (error instanceof VmError && error.class === 'DeviceNotFound')
      throw new VmError("Parameter 'netdev' expects a network backend id", {
        hint: `There is no netdev '${id}'.`,
      });
    throw error;
  }
}

function placeOf({ position = 'tail', insert = 'behind' }: Common): FilterPlace {
  if (position === 'head' || position === 'tail') return position;
  if (!position.startsWith('id='))
    throw new VmError("Parameter 'position' expects 'head', 'tail' or 'id=<id>'");
  return { insert, id: position.slice(3) };
}
