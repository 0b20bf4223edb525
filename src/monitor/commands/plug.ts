/** Character devices and netdevs that come and go while the machine runs. */
import { VmError } from '../../base/errors.js';
import {
  chardevBackend,
  chardevHelp,
  chardevKinds,
  readChardev,
  specOfBackend,
} from '../../vm/objects/chardevs.js';
import type { AnnounceSchedule } from '../../net/packet/announce.js';
import type { Vm } from '../../vm/vm.js';
import { netdevHelp, netdevOf, readNetdev } from '../../vm/objects/netdevs.js';
import { command, hmp } from '../schema.js';
import { int, list, oneOf, optional, rest, str, struct } from '../../words/types.js';

const format = optional(
  oneOf(['base64', 'utf8'], 'of the data; default: utf8', { name: 'DataFormat' }),
);
const MAX_READ_BYTES = 64 << 20;
const chardev = str('its name', { complete: 'chardevs' });
const ms = (summary: string) => int(summary, { min: 1, max: 100_000 });

export const plugCommands = [
  command({
    name: 'chardev-add',
    hmpName: 'chardev-add',
    aliases: ['chardev_add'],
    since: '0.1',
    summary: 'add a character device',
    notes: [
      'chardev-add help lists the kinds, chardev-add KIND,help the options of one. A server ' +
        'does not wait for its peer.',
    ],
    examples: [
      'chardev-add socket,id=c0,path=/run/c0.sock,server=on',
      'chardev-add ringbuf,id=log',
    ],
    args: { id: str('its name'), backend: chardevBackend },
    run: (vm, { id, backend }) => vm.chardevs.add(id, specOfBackend(backend)),
    hmp: hmp(
      { args: rest('KIND,id=ID,OPTION=VALUE,..., as of -chardev') },
      async (vm, { args }) => {
        const help = chardevHelp(args);
        if (help !== undefined) return help;
        const { id, backend } = readChardev(args, true);
        await vm.chardevs.add(id, backend);
        return undefined;
      },
    ),
  }),
  command({
    name: 'chardev-remove',
    hmpName: 'chardev-remove',
    aliases: ['chardev_remove'],
    since: '0.1',
    summary: 'remove a character device that nobody uses',
    examples: ['chardev-remove c0'],
    args: { id: chardev },
    run: (vm, { id }) => vm.chardevs.remove(id),
  }),
  command({
    name: 'query-chardev-backends',
    since: '0.1',
    monitors: 'qmp',
    summary: 'kinds of character devices that chardev-add takes',
    returns: list(struct('ChardevBackendInfo', { name: str() })),
    run: () => chardevKinds.map(name => ({ name })),
  }),
  command({
    name: 'ringbuf-read',
    since: '0.1',
    summary: 'take the oldest bytes out of a ring buffer character device',
    examples: ['ringbuf_read log 4096'],
    args: { device: chardev, size: int('bytes at most', { min: 1, max: MAX_READ_BYTES }), format },
    returns: str(),
    run: (vm, { device, size, format: form = 'utf8' }) =>
      Buffer.from(vm.chardevs.ringbuf(device).read(size)).toString(form),
    hmp: hmp(
      { device: chardev, size: int('bytes at most', { min: 1, max: MAX_READ_BYTES }) },
      (vm, { device, size }) =>
        printable(Buffer.from(vm.chardevs.ringbuf(device).read(size)).toString('utf8')),
    ),
  }),
  command({
    name: 'ringbuf-write',
    since: '0.1',
    summary: 'add bytes to a ring buffer character device',
    examples: ['ringbuf_write log "--- mark ---\\n"'],
    args: { device: chardev, data: str('the bytes'), format },
    run: (vm, { device, data, format: form = 'utf8' }) =>
      vm.chardevs.ringbuf(device).write(decoded(data, form)),
    hmp: hmp({ device: chardev, data: str('the bytes') }, (vm, { device, data }) => {
      vm.chardevs.ringbuf(device).write(Buffer.from(data, 'utf8'));
      return undefined;
    }),
  }),
  command({
    name: 'netdev_add',
    since: '0.1',
    summary: 'add a netdev',
    notes: [
      'netdev_add help lists the types, netdev_add TYPE,help the options of one. Network ' +
        'cards have theirs from the start: a new one serves filters.',
    ],
    examples: [
      'netdev_add socket,id=hn1,listen=127.0.0.1:1234',
      'netdev_add tap,id=hn1,ifname=tap1,script=no,downscript=no',
      'netdev_add user,id=hn1,restrict=on',
    ],
    open: true,
    args: { type: str('tap, socket, user'), id: str('its name') },
    run: (vm, { type, id, ...given }) => vm.network.add(netdevOf(type, id, given)),
    hmp: hmp(
      { netdev: rest('TYPE,id=ID,OPTION=VALUE,..., as of -netdev') },
      async (vm, { netdev }) => {
        const help = netdevHelp(netdev);
        if (help === undefined) await vm.network.add(readNetdev(netdev));
        return help;
      },
    ),
  }),
  command({
    name: 'netdev_del',
    since: '0.1',
    summary: 'remove a netdev that neither a network card nor a filter uses',
    examples: ['netdev_del hn1'],
    args: { id: str('its name', { complete: 'netdevs' }) },
    run: (vm, { id }) => vm.network.del(id),
  }),
  command({
    name: 'announce-self',
    since: '0.1',
    summary: 'tell switches and neighbours again where the guest is',
    notes: ['COLO does it by itself after a failover.'],
    examples: ['announce_self', 'announce_self hn0'],
    args: {
      initial: ms('ms before the second round'),
      max: ms('ms between two rounds at most'),
      rounds: int('how often', { min: 1, max: 1000 }),
      step: ms('ms by which the pauses grow'),
      interfaces: optional(list(str(), 'netdevs; default: all')),
    },
    run: (vm, { initial, max, rounds, step, interfaces }) =>
      announce(vm, { initialMs: initial, maxMs: max, rounds, stepMs: step }, interfaces),
    hmp: hmp(
      {
        interfaces: optional(
          str('netdevs, with commas between; default: all', { complete: 'netdevs' }),
        ),
      },
      (vm, { interfaces }) => {
        announce(vm, undefined, interfaces?.split(','));
        return undefined;
      },
    ),
  }),
];

function announce(
  { machine, network }: Vm,
  schedule?: AnnounceSchedule,
  ids?: readonly string[],
): void {
  machine.checkAnnounceable();
  network.announce(schedule, ids);
}

function decoded(data: string, form: 'utf8' | 'base64'): Buffer {
  if (form === 'base64' && !/^[A-Za-z0-9+/]*={0,2}$/.test(data))
    throw new VmError("Parameter 'data' is not base64");
  return Buffer.from(data, form);
}

/** Whatever a guest wrote: a terminal sees no control characters but line ends and tabs. */
function printable(text: string): string {
  return text.replace(
    /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g,
    c => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0').toUpperCase()}`,
  );
}
