/**
 * Goal: a peer that accepts and never answers holds up only those that wait for it, and yank ends
 * that wait. Method: a whole VM of this process with its real monitor on a socket, and servers that
 * say nothing (skipped by name where the addon is not built).
 */
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createConnection, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BlockLayer } from '../../../src/block/layer/layer.js';
import { parseLaunch } from '../../../src/commands/options/spec.js';
import { nodeHost } from '../../../src/host/node/host.js';
import { yank as yankNow, yankInstances } from '../../../src/vm/yank.js';
import { openMonitors } from '../../../src/monitor/open.js';
import { QmpClient } from '../../../src/monitor/qmp/client.js';
import { Vm } from '../../../src/vm/vm.js';
import { testHost } from '../../support/vm-host.js';

const built = existsSync(new URL('../../../native/build/Release/colo.node', import.meta.url));
const withAddon = built ? test : test.skip;
const dir = mkdtempSync(join(tmpdir(), 'colo-yank-'));
const path = (name: string) => join(dir, name);
const limitMs = 10_000;

let vm: Vm;
const servers: Server[] = [];
const sockets: Socket[] = [];

async function start(...extra: string[]): Promise<void> {
  const { spec } = parseLaunch('primary', [
    '-S',
    '-m',
    '16',
    '-accel',
    'soft',
    '-qmp',
    `unix:${path('qmp')},server=on,wait=off`,
    '-qmp',
    `unix:${path('qmp2')},server=on,wait=off`,
    ...extra,
  ]);
  vm = await Vm.build(spec, testHost());
  openMonitors(vm);
  await vm.start();
}

/** Takes connections and says nothing, ever. */
function dead(name: string): Promise<string> {
  const server = createServer(socket => void sockets.push(socket));
  servers.push(server);
  return new Promise(resolve => server.listen(path(name), () => resolve(path(name))));
}

/** A way to a server through which nothing passes any more once the result is called. */
function freezer(target: string): Promise<() => void> {
  const server = createServer(near => {
    const far = createConnection(target);
    sockets.push(near, far);
    near.pipe(far).pipe(near);
  });
  servers.push(server);
  return new Promise(resolve =>
    server.listen(path('proxy'), () =>
      resolve(() => sockets.forEach(socket => socket.unpipe().pause())),
    ),
  );
}

const client = (name = 'qmp') =>
  QmpClient.connect(nodeHost(), { kind: 'unix', path: path(name) }, limitMs);
const yank = (qmp: QmpClient, ...instances: object[]) =>
  qmp.execute('yank', { instances }, limitMs);

afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  for (const server of servers.splice(0)) server.close();
  await vm?.dispose();
});
afterAll(() => rmSync(dir, { recursive: true }));

withAddon('migration to a dead peer (skipped where the addon is not built)', async () => {
  await start();
  const [qmp, other] = [await client(), await client('qmp2')];
  const uri = `unix:${await dead('mig')}`;
  expect(await qmp.execute('query-yank', undefined, limitMs)).not.toContainEqual({
    type: 'migration',
  });
  await expect(yank(qmp, { type: 'migration' })).rejects.toThrow('Instance not found');
  await qmp.execute('migrate', { uri }, limitMs);
  expect(await other.execute('query-migrate', undefined, limitMs)).toMatchObject({
    status: 'setup',
  });
  expect(await other.execute('query-yank', undefined, limitMs)).toContainEqual({
    type: 'migration',
  });
  await yank(other, { type: 'migration' });
  for (let i = 0; i < 200 && vm.colo.query().status === 'setup'; i++)
    await new Promise(resolve => setTimeout(resolve, 10));
  expect(await qmp.execute('query-migrate', undefined, limitMs)).toMatchObject({
    status: 'failed',
    'error-desc': 'the connection was yanked',
  });
});

test(
  'an NBD server that stops answering: who waits for it gets an error, and the node is still ' +
    'there',
  async () => {
    const host = nodeHost();
    const [served, mine] = [new BlockLayer(host), new BlockLayer(host)];
    writeFileSync(path('disk'), Buffer.alloc(1 << 20, 7));
    await served.blockdevAdd({
      driver: 'raw',
      'node-name': 'd',
      file: { driver: 'file', filename: path('disk') },
    });
    await served.nbd.start({ kind: 'unix', path: path('nbd') });
    served.nbdServerAdd({ device: 'd', writable: true });
    const frozen = await freezer(path('nbd'));
    await mine.blockdevAdd({
      driver: 'nbd',
      'node-name': 'n0',
      server: { type: 'unix', path: path('proxy') },
      export: 'd',
    });
    const connected = {
      block: mine,
      chardevs: { info: () => [], yankable: () => [], yank: () => undefined } as never,
      colo: { migration: { busy: false } } as never,
    };
    const read = () => mine.graph.node('n0').pread(0, 512);
    try {
      expect(await read()).toEqual(Buffer.alloc(512, 7));
      frozen();
      const waiting = read();
      expect(yankInstances(connected)).toEqual([{ type: 'block-node', 'node-name': 'n0' }]);
      yankNow(connected, yankInstances(connected));
      await expect(waiting).rejects.toThrow('the connection was yanked');
      await expect(read()).rejects.toThrow('the connection was yanked');
      expect(mine.queryNamedBlockNodes().map(node => node['node-name'])).toEqual(['n0']);
    } finally {
      await mine.close();
      await served.close();
    }
  },
);

withAddon(
  'a chardev socket: its peer is dropped, a server takes the next (skipped where the addon is ' +
    'not built)',
  async () => {
    await start('-chardev', `socket,id=c0,path=${await dead('chr')}`, '-serial', 'chardev:c0');
    const qmp = await client();
    const instances = (await qmp.execute('query-yank', undefined, limitMs)) as object[];
    expect(instances).toEqual(
      expect.arrayContaining([
        { type: 'chardev', id: 'c0' },
        { type: 'chardev', id: 'qmp0' },
      ]),
    );
    await expect(
      yank(qmp, { type: 'chardev', id: 'c0' }, { type: 'chardev', id: 'nope' }),
    ).rejects.toThrow('Instance not found. chardev nope is not among those of query-yank.');
    const state = async () =>
      (
        (await qmp.execute('query-chardev', undefined, limitMs)) as {
          label: string;
          filename: string;
        }[]
      ).find(c => c.label === 'c0')!.filename;
    expect(await state()).not.toContain('disconnected');
    await yank(qmp, { type: 'chardev', id: 'c0' });
    expect(await state()).toContain('disconnected:');
  },
);
