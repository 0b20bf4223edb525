/** Disks: what there is, export over NBD, hot-add, quorum children. */
import { blockDrivers } from '../../block/options/options.js';
import { portOf, splitHostPort } from '../../words/scalars.js';
import { VmError } from '../../base/errors.js';
import { command, hmp, hmpCommand, part } from '../schema.js';
import { childLines, infoBlock } from './info-block.js';
import {
  bool,
  flag,
  int,
  list,
  oneOf,
  optional,
  rest,
  str,
  struct,
  tagged,
} from '../../words/types.js';
import type { BlockInfo, NbdAddress } from '../vm.js';

const nbdAddr = tagged('SocketAddressLegacy', {
  inet: struct('InetSocketAddress', { host: str(), port: str() }),
  unix: struct('UnixSocketAddress', { path: str() }),
});
const image = struct('ImageInfo', { filename: str(), format: str(), 'virtual-size': int() });
const rates = {
  bps: int(),
  bps_rd: int(),
  bps_wr: int(),
  iops: int(),
  iops_rd: int(),
  iops_wr: int(),
};
const bursts = Object.fromEntries(
  Object.keys(rates)
    .flatMap(name => [`${name}_max`, `${name}_max_length`])
    .map(name => [name, optional(int())]),
);
const nodeInfo = struct('BlockDeviceInfo', {
  'node-name': str(),
  drv: str(),
  file: str(),
  ro: bool(),
  encrypted: bool(),
  backing_file_depth: int(),
  detect_zeroes: oneOf(['off', 'on', 'unmap'], '', { name: 'BlockdevDetectZeroesOptions' }),
  ...rates,
  ...bursts,
  iops_size: optional(int()),
  group: optional(str()),
  cache: struct('BlockdevCacheInfo', { writeback: bool(), direct: bool(), 'no-flush': bool() }),
  write_threshold: int(),
  image,
  'dirty-bitmaps': optional(
    list(
      struct('BlockDirtyInfo', {
        name: str(),
        count: int(),
        granularity: int(),
        recording: bool(),
        busy: bool(),
        persistent: bool(),
      }),
    ),
  ),
  details: list(str()),
});
const deviceInfo = struct('BlockInfo', {
  device: str(),
  qdev: optional(str()),
  type: str(),
  removable: bool(),
  locked: bool(),
  'io-status': optional(oneOf(['ok', 'failed', 'nospace'], '', { name: 'BlockDeviceIoStatus' })),
  inserted: nodeInfo,
});

const nbdExport = struct('NbdExport', {
  name: str(),
  writable: bool(),
  node: str(),
  clients: int(),
});
const nbdServer = struct('NbdServerInfo', { address: optional(str()), exports: list(nbdExport) });

const showNbd = (at: NbdAddress) =>
  at.type === 'unix'
    ? `unix:${at.path}`
    : `tcp:${at.host.includes(':') ? `[${at.host}]` : at.host}:${at.port}`;
const exportWords = ({ writable, clients }: { writable: boolean; clients: number }) =>
  `${writable ? 'writable' : 'read-only'}, ${clients} client${clients === 1 ? '' : 's'}`;

export const blockCommands = [
  command({
    name: 'query-block',
    since: '0.1',
    feature: 'block',
    summary: 'show the block devices',
    returns: list(deviceInfo),
    run: vm =>
      part(vm, 'block')
        .info()
        .map(b => ({
          device: b.device,
          qdev: b.qdev,
          type: 'unknown',
          removable: false,
          locked: false,
          'io-status': b.ioStatus,
          inserted: node(b),
        })),
    examples: ['info block', 'info block -v disk0'],
    hmp: infoBlock,
  }),
  command({
    name: 'query-named-block-nodes',
    since: '0.1',
    feature: 'block',
    monitors: 'qmp',
    summary: 'show every node of the block graph',
    returns: list(nodeInfo),
    run: vm => part(vm, 'block').nodes().map(node),
  }),
  command({
    name: 'nbd-server-start',
    since: '0.1',
    feature: 'block',
    summary: 'serve block devices on the given host and port',
    examples: ['nbd_server_start 127.0.0.1:8889', 'nbd_server_start -a -w unix:/run/disks.nbd'],
    args: {
      addr: nbdAddr,
      'tls-creds': optional(
        str('a tls-creds object with endpoint=server; then clients must speak TLS'),
      ),
    },
    run: (vm, { addr, 'tls-creds': tlsCreds }) =>
      part(vm, 'block').nbdServerStart(
        addr.type === 'unix'
          ? { type: 'unix', path: addr.data.path }
          : inet(addr.data.host, addr.data.port),
        tlsCreds,
      ),
    hmp: hmp(
      {
        all: flag('a', 'export all available block devices'),
        writable: flag('w', 'writable; only together with -a'),
        address: str('HOST:PORT or unix:PATH'),
      },
      async (vm, { all, writable, address }) => {
        if (writable && !all) throw new VmError('-w only valid together with -a');
        const block = part(vm, 'block');
        const asked = parseNbdAddress(address);
        await block.nbdServerStart(asked);
        for (const device of all ? block.devices : [])
          await block.nbdServerAdd({ device, writable: writable ?? false });
        const at = block.nbdServer()?.address;
        return asked.type === 'inet' && asked.port === 0 && at
          ? `NBD server on ${showNbd(at)}`
          : undefined;
      },
    ),
  }),
  command({
    name: 'nbd-server-add',
    since: '0.1',
    feature: 'block',
    summary: 'export a block device via NBD',
    examples: ['nbd_server_add -w colo-disk0'],
    args: {
      writable: flag('w', 'clients may write'),
      device: str('device or node to export', { complete: 'block-nodes' }),
      name: optional(str('name of the export; default: the device')),
    },
    run: (vm, { device, name, writable }) =>
      part(vm, 'block').nbdServerAdd({ device, name, writable: writable ?? false }),
  }),
  command({
    name: 'nbd-server-stop',
    since: '0.1',
    feature: 'block',
    summary: 'stop serving block devices using the NBD protocol',
    run: vm => part(vm, 'block').nbdServerStop(),
  }),
  command({
    name: 'x-query-nbd-server',
    hmpName: 'info nbd',
    since: '0.1',
    feature: 'block',
    summary: 'show where the NBD server listens, and what it exports',
    returns: nbdServer,
    run: vm => {
      const server = part(vm, 'block').nbdServer();
      if (!server) return { exports: [] };
      return { address: showNbd(server.address), exports: server.exports.map(one => ({ ...one })) };
    },
    show: ({ address, exports }) => {
      if (address === undefined) return 'NBD server not running';
      const lines = exports.map(one => `${one.name}: ${exportWords(one)}, node ${one.node}`);
      return [`NBD server on ${address}`, ...lines].join('\n');
    },
    table: ({ address, exports }) => ({
      head: ['EXPORT', 'NODE', 'ACCESS', 'CLIENTS', 'AT'],
      rows: exports.map(one => [
        one.name,
        one.node,
        one.writable ? 'read, write' : 'read',
        String(one.clients),
        address ?? '',
      ]),
    }),
  }),
  command({
    name: 'x-blockdev-change',
    since: '0.1',
    feature: 'block',
    summary: 'add a child to a quorum, or take one away',
    examples: ['x_blockdev_change colo-disk0 node0', 'x_blockdev_change -d colo-disk0 children.1'],
    args: {
      parent: str('the quorum: device or node', { complete: 'block-nodes' }),
      child: optional(str('child to take away, for example children.1')),
      node: optional(str('node to add', { complete: 'block-nodes' })),
    },
    run: (vm, change) => {
      if (change.child !== undefined && change.node !== undefined)
        throw new VmError("The parameters 'child' and 'node' are in conflict");
      if (change.child === undefined && change.node === undefined)
        throw new VmError("Either 'child' or 'node' must be specified");
      return part(vm, 'block').changeChildren(change);
    },
    hmp: hmp(
      {
        remove: flag('d', 'take the child away'),
        parent: str('the quorum: device or node', { complete: 'block-nodes' }),
        name: str('node to add; with -d the child, for example children.1', {
          complete: 'block-nodes',
        }),
      },
      async (vm, { remove, parent, name }) => {
        await part(vm, 'block').changeChildren(
          remove ? { parent, child: name } : { parent, node: name },
        );
        return undefined;
      },
    ),
  }),
  command({
    name: 'blockdev-add',
    since: '0.1',
    feature: 'block',
    monitors: 'qmp',
    summary: 'add a node to the block graph',
    examples: [
      '{"driver": "raw", "node-name": "copy0", "file": {"driver": "file", "filename": ' +
        '"/images/copy.img"}}',
    ],
    notes: ['Takes the options of -drive as nested JSON; node-name is needed.'],
    open: true,
    args: {
      driver: str(blockDrivers.join(', ')),
      'node-name': str('name of the new node'),
    },
    run: (vm, options) => part(vm, 'block').blockdevAdd(options),
  }),
  command({
    name: 'blockdev-del',
    since: '0.1',
    feature: 'block',
    monitors: 'qmp',
    summary: 'remove a node of the block graph that nobody uses',
    examples: ['{"node-name": "copy0"}'],
    args: { 'node-name': str('the node', { complete: 'block-nodes' }) },
    run: (vm, args) => part(vm, 'block').driveDel(args['node-name']),
  }),
  hmpCommand({
    name: 'drive-add',
    since: '0.1',
    feature: 'block',
    summary: 'add a drive that no device uses yet',
    examples: [
      'drive_add -n buddy ' +
        'driver=replication,mode=primary,file.driver=nbd,file.host=10.0.0.2,' +
        'file.port=8889,file.export=colo-disk0,node-name=node0',
    ],
    args: {
      node: flag('n', 'only a node of the graph, which no device can be given'),
      bus: str('a word of no meaning: `buddy` by custom'),
      options: rest('as of -drive; only if=none'),
    },
    run: async (vm, { node: nodeOnly = false, options }) => {
      await part(vm, 'block').driveAdd(options, { nodeOnly });
      return 'OK';
    },
  }),
  hmpCommand({
    name: 'drive-del',
    since: '0.1',
    feature: 'block',
    summary: 'remove a drive; a guest that uses it sees I/O errors',
    examples: ['drive_del node0'],
    args: { id: str('device or node', { complete: 'block-nodes' }) },
    run: async (vm, { id }) => {
      await part(vm, 'block').driveDel(id);
      return undefined;
    },
  }),
];

const noLimits = { bps: 0, bps_rd: 0, bps_wr: 0, iops: 0, iops_rd: 0, iops_wr: 0 };

function node(b: BlockInfo) {
  return {
    'node-name': b.nodeName,
    drv: b.driver,
    file: b.file,
    ro: b.readOnly,
    encrypted: false,
    backing_file_depth: b.backingDepth,
    detect_zeroes: b.detectZeroes ? ('on' as const) : ('off' as const),
    ...(b.throttle ?? noLimits),
    cache: b.cache,
    write_threshold: 0,
    ...(b.bitmaps.length > 0 && {
      'dirty-bitmaps': b.bitmaps.map(bitmap => ({ ...bitmap, persistent: false })),
    }),
    image: { filename: b.file, format: b.driver, 'virtual-size': b.sizeBytes },
    details: [...b.details, ...childLines(b)],
  };
}

function inet(host: string, port: string): NbdAddress {
  const number = portOf(port);
  if (number === undefined)
    throw new VmError(
      `Parameter 'addr.data.port' expects a port number from 0 to 65535, not '${port}'`,
    );
  return { type: 'inet', host, port: number };
}

function parseNbdAddress(text: string): NbdAddress {
  if (text.startsWith('unix:') && text.length > 5) return { type: 'unix', path: text.slice(5) };
  const where = splitHostPort(text.replace(/^tcp:/, ''));
  if (!where)
    throw new VmError(`error parsing address '${text}'`, {
      hint: 'Give HOST:PORT, [IPV6]:PORT or unix:PATH.',
    });
  return inet(where.host, where.port);
}
