/** Disks: what there is, export over NBD, hot-add, quorum children. */
import { blockDrivers } from '../../block/options/options.js';
import { portOf, splitHostPort } from '../../words/scalars.js';
import { VmError } from '../../base/errors.js';
import type { BlockLayer } from '../../block/layer/layer.js';
import { staysHere } from '../../host/loopback.js';
import type { Address } from '../../host/ports.js';
import type { Vm } from '../../vm/vm.js';
import { driveAnswer, nodeAnswer } from '../block-info.js';
import { command, hmp, hmpCommand } from '../schema.js';
import { infoBlock } from './info-block.js';
import { bool, flag, int, list, optional, rest, str, struct, tagged } from '../../words/types.js';

const nbdAddr = tagged('SocketAddressLegacy', {
  inet: struct('InetSocketAddress', { host: str(), port: str() }),
  unix: struct('UnixSocketAddress', { path: str() }),
});
const nbdExport = struct('NbdExport', {
  name: str(),
  writable: bool(),
  node: str(),
  clients: int(),
});
const nbdServer = struct('NbdServerInfo', { address: optional(str()), exports: list(nbdExport) });

const showNbd = (at: Address) =>
  at.kind === 'unix'
    ? `unix:${at.path}`
    : `tcp:${at.host.includes(':') ? `[${at.host}]` : at.host}:${at.port}`;
const exportWords = ({ writable, clients }: { writable: boolean; clients: number }) =>
  `${writable ? 'writable' : 'read-only'}, ${clients} client${clients === 1 ? '' : 's'}`;

async function startServer({ block, host }: Vm, address: Address, tlsCreds?: string) {
  await block.nbdServerStart(address, tlsCreds);
  if (tlsCreds !== undefined || staysHere(address)) return;
  host.note(
    'warning: the NBD server can be reached from elsewhere without TLS: who gets there reads and ' +
      'writes what it exports. Give it tls-creds, or keep the network to the pair.',
  );
}

export const blockCommands = [
  command({
    name: 'query-block',
    since: '0.1',
    summary: 'show the block devices',
    returns: list(driveAnswer.type),
    run: ({ block }) => block.queryBlock().map(driveAnswer.from),
    examples: ['info block', 'info block -v disk0'],
    hmp: infoBlock,
  }),
  command({
    name: 'query-named-block-nodes',
    since: '0.1',
    monitors: 'qmp',
    summary: 'show every node of the block graph',
    returns: list(nodeAnswer.type),
    run: ({ block }) => block.queryNamedBlockNodes().map(node => nodeAnswer.from({ node })),
  }),
  command({
    name: 'nbd-server-start',
    since: '0.1',
    summary: 'serve block devices on the given host and port',
    examples: ['nbd_server_start 127.0.0.1:8889', 'nbd_server_start -a -w unix:/run/disks.nbd'],
    args: {
      addr: nbdAddr,
      'tls-creds': optional(
        str('a tls-creds object with endpoint=server; then clients must speak TLS'),
      ),
    },
    run: (vm, { addr, 'tls-creds': tlsCreds }) =>
      startServer(
        vm,
        addr.type === 'unix'
          ? { kind: 'unix', path: addr.data.path }
          : tcp(addr.data.host, addr.data.port),
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
        const { block } = vm;
        const asked = parseNbdAddress(address);
        await startServer(vm, asked);
        const held = block.list().filter(({ backend: { nodeName } }) => nodeName !== '');
        for (const { id, backend } of all ? held : [])
          await addExport(block, { device: id || backend.nodeName, writable: writable ?? false });
        const at = block.nbd.address;
        return asked.kind === 'tcp' && asked.port === 0 && at
          ? `NBD server on ${showNbd(at)}`
          : undefined;
      },
    ),
  }),
  command({
    name: 'nbd-server-add',
    since: '0.1',
    summary: 'export a block device via NBD',
    examples: ['nbd_server_add -w colo-disk0'],
    args: {
      writable: flag('w', 'clients may write'),
      device: str('device or node to export', { complete: 'block-nodes' }),
      name: optional(str('name of the export; default: the device')),
    },
    run: ({ block }, { device, name, writable }) =>
      addExport(block, { device, name, writable: writable ?? false }),
  }),
  command({
    name: 'nbd-server-stop',
    since: '0.1',
    summary: 'stop serving block devices using the NBD protocol',
    run: ({ block }) => block.nbd.stop(),
  }),
  command({
    name: 'x-query-nbd-server',
    hmpName: 'info nbd',
    since: '0.1',
    summary: 'show where the NBD server listens, and what it exports',
    returns: nbdServer,
    run: ({ block: { nbd } }) =>
      nbd.address === undefined
        ? { exports: [] }
        : { address: showNbd(nbd.address), exports: nbd.describe() },
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
    summary: 'add a child to a quorum, or take one away',
    examples: ['x_blockdev_change colo-disk0 node0', 'x_blockdev_change -d colo-disk0 children.1'],
    args: {
      parent: str('the quorum: device or node', { complete: 'block-nodes' }),
      child: optional(str('child to take away, for example children.1')),
      node: optional(str('node to add', { complete: 'block-nodes' })),
    },
    run: async ({ block }, change) => {
      if (change.child !== undefined && change.node !== undefined)
        throw new VmError("The parameters 'child' and 'node' are in conflict");
      if (change.child === undefined && change.node === undefined)
        throw new VmError("Either 'child' or 'node' must be specified");
      await block.blockdevChange(change);
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
        await vm.block.blockdevChange(remove ? { parent, child: name } : { parent, node: name });
        return undefined;
      },
    ),
  }),
  command({
    name: 'blockdev-add',
    since: '0.1',
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
    run: (vm, options) => vm.block.blockdevAdd(options),
  }),
  command({
    name: 'blockdev-del',
    since: '0.1',
    monitors: 'qmp',
    summary: 'remove a node of the block graph that nobody uses',
    examples: ['{"node-name": "copy0"}'],
    args: { 'node-name': str('the node', { complete: 'block-nodes' }) },
    run: (vm, args) => vm.block.driveDel(args['node-name']),
  }),
  hmpCommand({
    name: 'drive-add',
    since: '0.1',
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
      await vm.block.driveAdd(options, { noBackend: nodeOnly });
      return 'OK';
    },
  }),
  hmpCommand({
    name: 'drive-del',
    since: '0.1',
    summary: 'remove a drive; a guest that uses it sees I/O errors',
    examples: ['drive_del node0'],
    args: { id: str('device or node', { complete: 'block-nodes' }) },
    run: async (vm, { id }) => {
      await vm.block.driveDel(id);
      return undefined;
    },
  }),
];

async function addExport(
  block: BlockLayer,
  options: { device: string; name?: string; writable: boolean },
): Promise<void> {
  if (options.writable) await block.activate(options.device);
  block.nbdServerAdd(options);
}

function tcp(host: string, port: string): Address {
  const number = portOf(port);
  if (number === undefined)
    throw new VmError(
      `Parameter 'addr.data.port' expects a port number from 0 to 65535, not '${port}'`,
    );
  return { kind: 'tcp', host, port: number };
}

function parseNbdAddress(text: string): Address {
  if (text.startsWith('unix:') && text.length > 5) return { kind: 'unix', path: text.slice(5) };
  const where = splitHostPort(text.replace(/^tcp:/, ''));
  if (!where)
    throw new VmError(`error parsing address '${text}'`, {
      hint: 'Give HOST:PORT, [IPV6]:PORT or unix:PATH.',
    });
  return tcp(where.host, where.port);
}
