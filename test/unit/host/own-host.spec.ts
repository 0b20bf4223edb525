/** Goal: a host knows its own addresses, also while it boots and its links are not yet up. */
import { spawnSync } from 'node:child_process';
import { networkInterfaces } from 'node:os';
import { fileURLToPath } from 'node:url';
import { ownHost } from '../../../src/host/node/own-host.js';

it('an address is of this host or not, and a name is no address', async () => {
  const v6 = networkInterfaces()['lo']?.some(({ family }) => family === 'IPv6') ?? false;
  const asked = ['127.0.0.1', '0:0:0:0:0:0:0:1', '192.0.2.7', '2001:db8::7', 'localhost'];
  const own = await Promise.all(asked.map(address => ownHost.isOwn(address)));
  expect(own.slice(2)).toEqual([false, false, false]);
  expect(own.slice(0, 2)).toEqual([true, v6]);
});

const isolates = spawnSync('unshare', ['-rn', 'true']).status === 0 ? it : it.skip;
isolates(
  'an address whose link has no carrier is of this host, and so is the second one of a link',
  () => {
    const module = fileURLToPath(new URL('../../../src/host/node/own-host.ts', import.meta.url));
    const script =
      `const { ownHost } = await import(${JSON.stringify(module)});` +
      "const { networkInterfaces } = await import('node:os');" +
      "const listed = Object.keys(networkInterfaces()).includes('wire0');" +
      "console.log(listed, await ownHost.isOwn('192.0.2.7'), await ownHost.isOwn('192.0.2.8'), " +
      "await ownHost.isOwn('198.51.100.2'));";
    const network =
      'ip link add wire0 type veth peer name other && ip addr add 192.0.2.7/24 dev wire0 && ' +
      'ip link set wire0 up && ip link set lo up && ip addr add 198.51.100.1/24 dev lo && ' +
      'ip addr add 198.51.100.2/24 dev lo && exec "$@"';
    const node = [process.execPath, '--import', 'tsx', '--input-type=module', '-e', script];
    const { stdout, stderr } = spawnSync('unshare', ['-rn', 'sh', '-c', network, 'sh', ...node], {
      encoding: 'utf8',
      env: { ...process.env, NODE_OPTIONS: '' },
      timeout: 30_000,
    });
    expect([stdout, stderr]).toEqual(['false true false true\n', '']);
  },
  40_000,
);
