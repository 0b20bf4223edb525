/**
 * Goal: a prompt on a VM of ours from elsewhere is as good as its own: completion with its names,
 * tables, hints, events, history. Method: our QMP server in this process, `colo monitor` on a real
 * pseudo-terminal; x-complete and x-hmp-line by themselves.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { SocketChar } from '../../../src/chardev/socket.js';
import { NodeClock } from '../../../src/host/node/clock.js';
import { NodeSockets } from '../../../src/host/node/sockets.js';
import { monitorRegistry } from '../../../src/monitor/commands/all.js';
import { QmpClient } from '../../../src/monitor/qmp/client.js';
import { QmpServer } from '../../../src/monitor/qmp/server.js';
import { rememberingVm } from '../../support/remembering-vm.js';
import { keys, Person, temporaryHome } from '../../support/person.js';

const dev = fileURLToPath(new URL('../../../bin/dev.js', import.meta.url));
const dir = mkdtempSync(join(tmpdir(), 'colo-remote-'));
const address = { kind: 'unix', path: join(dir, 'qmp') } as const;
const world = {
  sockets: new NodeSockets(),
  clock: new NodeClock(),
  wallMs: () => 0,
  log: () => undefined,
};
const vm = rememberingVm();
const open: { dispose(): void }[] = [];

beforeAll(async () => {
  open.push(
    await world.sockets.listen(address, stream => {
      const chr = SocketChar.over('test', world, stream, () => undefined);
      open.push(chr, new QmpServer(vm, monitorRegistry, chr, world));
    }),
  );
});
afterAll(() => {
  for (const item of open.reverse()) item.dispose();
  rmSync(dir, { recursive: true });
});

test('the prompt', async () => {
  const home = temporaryHome();
  const person = new Person([dev, 'monitor', `unix:${address.path}`], { env: home.env });
  await person.sees('(colo) ', 'typed');
  await person.press('nbd_server_add -w d', keys.tab);
  await person.sees('(colo) nbd_server_add -w disk0 ', 'typed');
  await person.sees('[name]', 'behind');
  await person.press(keys.ctrlC, 'info block', keys.enter);
  await person.sees(/│ disk0 +│ node0 +│/);
  await person.press('info mig');
  vm.machine.events.emit('STOP', {});
  await person.sees('[STOP]\n(colo) info mig');
  await person.press(keys.ctrlC, keys.ctrlD);
  expect(await person.exited).toBe(0);
  expect(person.text).toContain("left the monitor: the VM goes on ('quit' would have ended it)");
  expect(readFileSync(join(home.path, 'state/colo/history'), 'utf8')).toBe('info block\n');
  home.remove();
});

test('what becomes of the pair, from elsewhere', async () => {
  const home = temporaryHome();
  const person = new Person([dev, 'monitor', `unix:${address.path}`], {
    env: home.env,
    columns: 100,
  });
  await person.sees('(colo) ', 'typed');
  await person.press('info na');
  for (const event of ['STOP', 'RESUME'] as const)
    vm.machine.events.emit(event, { checkpoint: true });
  Object.assign(vm.now.colo, { pair: 'lost', why: 'no sign of life', sinceMs: 3 });
  vm.machine.events.emit('COLO_EXIT', { mode: 'primary', reason: 'error' });
  const todo =
    'If the other side is surely dead or stopped, let this one go on: x_colo_lost_heartbeat';
  await person.sees(`COLO: protection was lost: no sign of life\n${todo}\n(colo) info na`);
  expect(person.text).not.toMatch(/STOP|RESUME|COLO_EXIT/);
  Object.assign(vm.now.colo, { pair: 'protected', why: undefined });
  person.kill();
  home.remove();
});

test('x-complete and x-hmp-line', async () => {
  const client = await QmpClient.connect(world, address, 5000);
  const ask = (command: string, args: object) => client.execute(command, args, 5000);
  expect(await ask('x-complete', { line: 'info sta' })).toEqual({
    candidates: ['status'],
    word: 'sta',
    hint: 'tus',
  });
  expect(await ask('x-complete', { line: 'migrate_set_capability x-colo ' })).toEqual({
    candidates: ['off', 'on'],
    word: '',
    hint: 'on|off',
  });
  expect(await ask('x-complete', { line: 'drive_add buddy file.filename=/im' })).toEqual({
    candidates: [],
    word: 'file.filename=/im',
    hint: '',
    path: '/im',
  });
  await expect(ask('x-complete', { line: 'x'.repeat(4097) })).rejects.toThrow(
    'a line has at most 4096 bytes',
  );
  expect(await ask('x-hmp-line', { line: 'info name', columns: 80, colour: false })).toBe('test\n');
  expect(await ask('x-hmp-line', { line: 'info block', columns: 20, colour: false })).toBe(
    'disk0 (node0): /images/a.img (raw), 1048576 bytes\n    Attached to: nothing\n' +
      '    Cache mode: writeback\n    mode: primary\n',
  );
  expect(await ask('x-hmp-line', { line: 'info block', columns: 80, colour: false })).toContain(
    '│ disk0  │ node0 │',
  );
  client.dispose();
});
