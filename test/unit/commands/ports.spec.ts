/**
 * Goal: a port that the host chose is shown wherever a user would look for it, and the commands of
 * a peer that reads no answers are run. Method: a whole VM in this process with every kind of
 * listener on port 0; each port that is shown must be open. The same monitor, used by programs that
 * send and leave.
 */
import { createConnection } from 'node:net';
import { addonBuilt } from '../../support/colo-process.js';
import { specOf } from '../../support/spec-of.js';
import { VmInProcess } from '../../support/vm-in-process.js';

const withAddon = addonBuilt ? test : test.skip;
let vm: VmInProcess;
afterEach(() => vm.dispose());

const portIn = (text: string) => Number(/tcp:(?:127\.0\.0\.1)?:(\d+)/.exec(text)?.[1]);

function connects(port: number): Promise<boolean> {
  return new Promise(resolve => {
    const socket = createConnection({ host: '127.0.0.1', port });
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    socket.once('connect', () => socket.destroy());
  });
}

withAddon('every listener tells its port', async () => {
  const server = 'tcp:127.0.0.1:0,server=on,wait=off';
  vm = await VmInProcess.start(
    specOf('primary', [
      '-m',
      '16',
      '-accel',
      'soft',
      '-S',
      '-incoming',
      'tcp:127.0.0.1:0',
      '-netdev',
      'socket,id=n0,listen=127.0.0.1:0',
      '-serial',
      server,
      '-monitor',
      server,
      '-qmp',
      server,
    ]),
  );
  const chardevs = await vm.hmp('info chardev');
  const ports = chardevs
    .split('\n')
    .filter(line => line.includes('tcp:'))
    .map(portIn);
  expect(ports.length).toBe(3);
  expect(await vm.qmp('query-chardev')).toContainEqual(
    expect.objectContaining({
      label: 'serial0',
      filename: `disconnected:tcp:127.0.0.1:${ports[0]},server=on`,
    }),
  );

  const told = (await vm.qmp('query-migrate')) as {
    'socket-address': { type: string; port: string }[];
  };
  const [waits] = told['socket-address'];
  expect(waits).toEqual({
    type: 'inet',
    host: '127.0.0.1',
    port: expect.stringMatching(/^[1-9]/) as string,
  });
  ports.push(Number(waits.port), portIn(await vm.hmp('info migrate')));

  ports.push(
    portIn(await vm.hmp('nbd_server_start 127.0.0.1:0')),
    portIn(await vm.hmp('info nbd')),
  );
  ports.push(portIn(await vm.hmp('info network')));
  expect(ports.map(port => port > 0)).toEqual(ports.map(() => true));
  for (const port of new Set(ports)) expect([port, await connects(port)]).toEqual([port, true]);
  expect(new Set(ports).size).toBe(6);
});

withAddon.each([
  ['a line of HMP', 'stop\nquit\n', '-monitor'],
  ['QMP', '{"execute": "qmp_capabilities"} {"execute": "stop"} {"execute": "quit"}\n', '-qmp'],
])('%s from a program that sends it and leaves', async (_name, text, option) => {
  const argv = ['-m', '16', '-accel', 'soft', '-S', option, 'tcp:127.0.0.1:0,server=on,wait=off'];
  vm = await VmInProcess.start(specOf('primary', argv));
  const socket = createConnection({
    host: '127.0.0.1',
    port: portIn(await vm.hmp('info chardev')),
  });
  // The greeting stays unread: the system ends such a connection with a reset.
  socket.pause();
  socket.write(text, () => socket.destroy());
  expect(await vm.vm.machine.ended).toEqual({ cause: 'host-qmp-quit', status: 0 });
});
