/**
 * Goal: what sd_notify(3) asks of a service: the socket of the environment, abstract or a path, the
 * watchdog only of the process that it is meant for, and nothing left to processes that are
 * started. Method: a real datagram socket (skipped by name where the addon is not built).
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { serviceManager } from '../../../src/host/node/service-manager.js';
import { addonBuilt } from '../../support/colo-process.js';
import { NotifySocket } from '../../support/notify-socket.js';

const withAddon = addonBuilt ? test : test.skip;
const dir = mkdtempSync(join(tmpdir(), 'colo-notify-'));
afterAll(() => rmSync(dir, { recursive: true }));

withAddon(
  'a message arrives at a path and at an abstract name (skipped where the addon is not built)',
  async () => {
    for (const name of [join(dir, 'notify'), `@colo-test-${process.pid}`]) {
      const systemd = await NotifySocket.open(name);
      const env: NodeJS.ProcessEnv = { NOTIFY_SOCKET: name, PATH: '/bin' };
      serviceManager(env)!.notify('READY=1\nSTATUS=wait\u00e4');
      for (let n = 0; n < 500 && systemd.lines.length < 2; n++)
        await new Promise(resolve => setTimeout(resolve, 10));
      systemd.close();
      expect(systemd.lines).toEqual(['READY=1', 'STATUS=wait\u00e4']);
      expect(env).toEqual({ PATH: '/bin' });
    }
  },
);

test('without a manager there is none, and a watchdog of another process is not ours', () => {
  const env = { NOTIFY_SOCKET: '@x', WATCHDOG_USEC: '3000000', WATCHDOG_PID: '7' };
  expect(serviceManager({})).toBeUndefined();
  expect(serviceManager({ ...env, NOTIFY_SOCKET: '' })).toBeUndefined();
  expect(serviceManager({ ...env }, 7)?.watchdogMs).toBe(3000);
  expect(serviceManager({ ...env }, 8)?.watchdogMs).toBeUndefined();
  expect(serviceManager({ ...env, WATCHDOG_PID: undefined }, 8)?.watchdogMs).toBe(3000);
  for (const wrong of ['0', '-1', 'soon', 'Infinity', undefined])
    expect(serviceManager({ ...env, WATCHDOG_USEC: wrong }, 7)?.watchdogMs).toBeUndefined();
});

withAddon(
  'an address that is none, or where nobody is, is a sentence (skipped where the addon is not ' +
    'built)',
  () => {
    const tell = (NOTIFY_SOCKET: string) => () => serviceManager({ NOTIFY_SOCKET })!.notify('X=1');
    expect(tell('vsock:2:1')).toThrow(
      "NOTIFY_SOCKET 'vsock:2:1' is neither a path nor an abstract name",
    );
    expect(tell('/nowhere/at/all')).toThrow(
      "Could not tell the service manager at '/nowhere/at/all': No such file or directory",
    );
    expect(tell(`/${'x'.repeat(200)}`)).toThrow(/Name too long/);
    expect(tell('@nobody-here')).toThrow(/Connection refused/);
  },
);
