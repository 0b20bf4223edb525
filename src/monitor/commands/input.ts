/** Keys and pointer, as a person at the machine would move them. */
import { VmError } from '../../base/errors.js';
import { keyCode, keyNames } from '../../hw/input/key-codes.js';
import { ABSOLUTE_MAX, type InputRouter, pointerButtons } from '../../hw/input/router.js';
import { standingOf } from '../../vm/standing.js';
import type { Vm } from '../../vm/vm.js';
import { bool, int, list, oneOf, optional, str, struct, union } from '../../words/types.js';
import { command, hmpCommand } from '../schema.js';

const HOLD_MS = 100;
const KEYS_MAX = 16;
const EVENTS_MAX = 256;
const MOVE_MAX = 4096;
const HOLD_MAX_MS = 60_000;

const keyValue = union('KeyValue', {
  number: {
    data: int('scan code of set 1; 0x80 and up: with the prefix 0xe0', { min: 1, max: 255 }),
  },
  qcode: { data: str(`one of ${keyNames.slice(0, 4).join(', ')} ...`) },
});

const axis = oneOf(['x', 'y'], '', { name: 'InputAxis' });
const move = struct('InputMoveEvent', { axis, value: int() });
const inputEvent = union('InputEvent', {
  key: { data: struct('InputKeyEvent', { key: keyValue, down: bool() }) },
  btn: {
    data: struct('InputBtnEvent', {
      down: bool(),
      button: oneOf(pointerButtons, '', { name: 'InputButton' }),
    }),
  },
  rel: { data: move },
  abs: { data: move },
});

/** Why nobody would notice a key. */
function inputOf(vm: Vm): InputRouter {
  const { machine } = vm;
  if (standingOf(vm).role === 'secondary')
    throw new VmError('the guest runs on the primary: this side takes no input');
  if (!machine.running && machine.runState !== 'colo')
    throw new VmError(`the guest does not run (${machine.runState}): it takes no input`);
  return machine.board.input;
}

const codeOf = (key: { type: 'number'; data: number } | { type: 'qcode'; data: string }) =>
  key.type === 'number' ? key.data : keyCode(key.data);

/** All go down in order, and come up in the other one. */
function press(vm: Vm, codes: readonly number[], holdMs = HOLD_MS): void {
  if (codes.length > KEYS_MAX) throw new VmError(`at most ${KEYS_MAX} keys at a time`);
  const input = inputOf(vm);
  for (const code of codes) input.key(code, true);
  vm.host.clock.timer(holdMs, () => {
    for (const code of [...codes].reverse()) input.key(code, false);
  });
}

const hold = (summary: string) => optional(int(summary, { min: 0, max: HOLD_MAX_MS }));

export const inputCommands = [
  command({
    name: 'send-key',
    since: '0.1',
    summary: 'press keys, all of them at a time, and let them go',
    examples: ['{ "keys": [ { "type": "qcode", "data": "ret" } ] }'],
    monitors: 'qmp',
    args: { keys: list(keyValue), 'hold-time': hold('ms that they are held; default 100') },
    run: (vm, { keys, 'hold-time': holdMs }) => press(vm, keys.map(codeOf), holdMs),
  }),
  hmpCommand({
    name: 'sendkey',
    since: '0.1',
    summary: "send keys to the VM (e.g. 'sendkey ctrl-alt-f1')",
    notes: [`Keys: ${keyNames.join(' ')}, or 0x and a scan code of set 1.`],
    examples: ['sendkey ctrl-alt-delete', 'sendkey a 500'],
    args: { keys: str('names with - between them'), hold_ms: hold('ms; default 100') },
    run: (vm, { keys, hold_ms: holdMs }) => {
      press(vm, keys.split('-').map(keyCode), holdMs);
      return undefined;
    },
  }),
  hmpCommand({
    name: 'mouse_move',
    since: '0.1',
    summary: 'send mouse move events',
    notes: [`With an absolute pointer dx and dy are its place, 0 to ${ABSOLUTE_MAX}.`],
    examples: ['mouse_move 10 -5'],
    args: {
      dx: int('to the right', { min: -MOVE_MAX, max: ABSOLUTE_MAX }),
      dy: int('down', { min: -MOVE_MAX, max: ABSOLUTE_MAX }),
      dz: optional(int('turns of the wheel', { min: -16, max: 16 })),
    },
    run: (vm, { dx, dy, dz = 0 }) => {
      const input = inputOf(vm);
      if (input.absolute) {
        const [x, y] = [placeOf(dx), placeOf(dy)];
        input.moveTo('x', x);
        input.moveTo('y', y);
      } else input.moveBy(wayOf(dx), wayOf(dy));
      for (let n = 0; n < Math.abs(dz); n++) input.button(dz > 0 ? 'wheel-up' : 'wheel-down', true);
      input.sync();
      return undefined;
    },
  }),
  hmpCommand({
    name: 'mouse_button',
    since: '0.1',
    summary: 'change mouse button state (1=L, 2=M, 4=R)',
    examples: ['mouse_button 1', 'mouse_button 0'],
    args: { state: int('the buttons that are down, added up', { min: 0, max: 7 }) },
    run: (vm, { state }) => {
      const input = inputOf(vm);
      input.button('left', (state & 1) !== 0);
      input.button('middle', (state & 2) !== 0);
      input.button('right', (state & 4) !== 0);
      input.sync();
      return undefined;
    },
  }),
  command({
    name: 'input-send-event',
    since: '0.1',
    summary: 'keys, buttons and ways of the pointer, as one event',
    examples: ['{ "events": [ { "type": "btn", "data": { "down": true, "button": "left" } } ] }'],
    monitors: 'qmp',
    args: { events: list(inputEvent) },
    run: (vm, { events }) => {
      if (events.length > EVENTS_MAX) throw new VmError(`at most ${EVENTS_MAX} events`);
      // All is known to be right before anything is done.
      const steps = events.map(event => stepOf(event));
      const input = inputOf(vm);
      if (!input.absolute && events.some(({ type }) => type === 'abs'))
        throw new VmError('the guest uses no absolute pointer: move it by rel events');
      for (const step of steps) step(input);
      if (events.some(({ type }) => type !== 'key')) input.sync();
    },
  }),
];

/** VmError: it is too long. */
function wayOf(value: number): number {
  if (Math.abs(value) > MOVE_MAX) throw new VmError(`a way is at most ${MOVE_MAX} long`);
  return value;
}

/** VmError: there is no such place. */
function placeOf(value: number): number {
  if (value < 0 || value > ABSOLUTE_MAX)
    throw new VmError(`a position is from 0 to ${ABSOLUTE_MAX}`);
  return value;
}

type InputEvent = ReturnType<(typeof inputEvent)['check']>;

function stepOf(event: InputEvent): (input: InputRouter) => void {
  switch (event.type) {
    case 'key': {
      const code = codeOf(event.data.key);
      return input => input.key(code, event.data.down);
    }
    case 'btn':
      return input => input.button(event.data.button, event.data.down);
    case 'rel': {
      const { axis: along, value } = event.data;
      const way = wayOf(value);
      return input => (along === 'x' ? input.moveBy(way, 0) : input.moveBy(0, way));
    }
    case 'abs': {
      const { axis: along, value } = event.data;
      const place = placeOf(value);
      return input => input.moveTo(along, place);
    }
  }
}
