/**
 * Goal: keys and pointer commands do what QEMU's do, and say why when the guest cannot notice.
 * Method: both monitors over a machine whose input is recorded.
 */
import { monitorRegistry } from '../../../src/monitor/commands/all.js';
import { HmpShell } from '../../../src/monitor/hmp/shell.js';
import { rememberingVm } from '../../support/remembering-vm.js';

function monitors() {
  const vm = rememberingVm();
  const clock = vm.host.clock as { timer: (ms: number, fn: () => void) => object };
  clock.timer = (ms, fn) => {
    vm.calls.push(`timer ${ms}`);
    fn();
    return { dispose: () => undefined };
  };
  const shell = new HmpShell(monitorRegistry, vm, false);
  const context = { registry: monitorRegistry, hmp: async () => '', mayWait: false };
  return {
    vm,
    hmp: (line: string) => shell.run(line),
    qmp: (name: string, args: Record<string, unknown>) =>
      monitorRegistry.qmp(name).runQmp(vm, args, context),
  };
}

test('sendkey presses all and lets them go the other way round', async () => {
  const { vm, hmp } = monitors();
  expect(await hmp('sendkey ctrl-alt-delete 250')).toBe('');
  expect(vm.calls).toEqual([
    'key [29,true]',
    'key [56,true]',
    'key [211,true]',
    'timer 250',
    'key [211,false]',
    'key [56,false]',
    'key [29,false]',
  ]);
});

test.each([
  ['sendkey foo', "Error: 'foo' is no key."],
  ['sendkey spd', "'spc'"],
  [`sendkey ${'a-'.repeat(16)}a`, 'Error: at most 16 keys at a time'],
  ['mouse_move 99999 0', 'integer expected'],
  ['mouse_move -1 0', 'a position is from 0 to 32767'],
])('%s is refused', async (line, answer) => {
  expect(await monitors().hmp(line)).toContain(answer);
});

test('send-key takes codes and names', async () => {
  const { vm, qmp } = monitors();
  const keys = [
    { type: 'qcode', data: 'a' },
    { type: 'number', data: 57 },
  ];
  await qmp('send-key', { keys });
  expect(vm.calls.slice(0, 3)).toEqual(['key [30,true]', 'key [57,true]', 'timer 100']);
});

test('mouse_move and mouse_button', async () => {
  const { vm, hmp } = monitors();
  await hmp('mouse_move 300 32767');
  (vm.machine.board.input as { absolute: boolean }).absolute = false;
  expect(await hmp('mouse_move 4097 0')).toContain('a way is at most 4096 long');
  await hmp('mouse_move 10 -5 1');
  await hmp('mouse_button 5');
  expect(vm.calls).toEqual([
    'moveTo ["x",300]',
    'moveTo ["y",32767]',
    'sync',
    'moveBy [10,-5]',
    'button ["wheel-up",true]',
    'sync',
    'button ["left",true]',
    'button ["middle",false]',
    'button ["right",true]',
    'sync',
  ]);
});

test('input-send-event does all or nothing', async () => {
  const { vm, qmp } = monitors();
  const abs = (axis: string, value: number) => ({ type: 'abs', data: { axis, value } });
  const key = { type: 'key', data: { down: true, key: { type: 'qcode', data: 'nope' } } };
  await expect(qmp('input-send-event', { events: [abs('x', 1), key] })).rejects.toThrow('nope');
  await expect(qmp('input-send-event', { events: [abs('x', 40000)] })).rejects.toThrow('32767');
  expect(vm.calls).toEqual([]);
  const rel = { type: 'rel', data: { axis: 'y', value: 3 } };
  const btn = { type: 'btn', data: { down: true, button: 'left' } };
  await qmp('input-send-event', { events: [abs('x', 100), abs('y', 200), rel, btn] });
  expect(vm.calls).toEqual([
    'moveTo ["x",100]',
    'moveTo ["y",200]',
    'moveBy [0,3]',
    'button ["left",true]',
    'sync',
  ]);
});

test('positions are refused where no pointer takes them', async () => {
  const { vm, qmp } = monitors();
  (vm.machine.board.input as { absolute: boolean }).absolute = false;
  const key = { type: 'key', data: { down: true, key: { type: 'qcode', data: 'a' } } };
  const abs = { type: 'abs', data: { axis: 'x', value: 1 } };
  await expect(qmp('input-send-event', { events: [key, abs] })).rejects.toThrow('rel events');
  expect(vm.calls).toEqual([]);
});

test('a guest that does not run, or not here, takes nothing', async () => {
  const stopped = monitors();
  stopped.vm.now.runState = 'paused';
  expect(await stopped.hmp('sendkey a')).toContain('does not run (paused)');
  const secondary = monitors();
  (secondary.vm.colo as { mode: string }).mode = 'secondary';
  secondary.vm.now.runState = 'colo';
  expect(await secondary.hmp('sendkey a')).toContain('the guest runs on the primary');
  expect([...stopped.vm.calls, ...secondary.vm.calls]).toEqual([]);
});
