/** Who hears of a broken device, and how often. Method: a clock that is moved by hand. */
import { expect, test } from '@jest/globals';
import { Events } from '../../../src/base/events.js';
import { BrokenDevices } from '../../../src/machine/broken-devices.js';
import type { QmpEvents } from '../../../src/qapi/types.js';

function make() {
  const clock = {
    now: 5,
    nowMs: () => clock.now,
    bootMs: () => 0,
    wallMs: () => 0,
    timer: () => ({ dispose: () => undefined }),
  };
  const events = new Events<QmpEvents>();
  const told: string[] = [];
  const lines: string[] = [];
  events.on('DEVICE_BROKEN', ({ device, reason }) => void told.push(`${device} ${reason}`));
  return {
    clock,
    told,
    lines,
    broken: new BrokenDevices(clock, events, line => void lines.push(line)),
  };
}

test('the line says which device, why, what becomes of the VM, and where it happened', () => {
  const { told, lines, broken } = make();
  broken.tell('blk0', 'RangeError: x', new RangeError('x'));
  expect(told).toEqual(['blk0 RangeError: x']);
  expect(lines[0]).toMatch(
    /^device 'blk0' failed and takes no part until it is reset; the VM goes on: RangeError: x \(.*broken-devices\.spec\.ts:\d+:\d+\)?\)$/,
  );
  expect(lines[0]).not.toMatch(/\/[a-z]+\//);
});

test('each device once a second, however often a guest breaks it', () => {
  const { clock, told, broken } = make();
  const all = () => ['blk0', 'net0'].forEach(id => broken.tell(id, 'why', 'text'));
  for (let i = 0; i < 1000; i++) all();
  expect(told).toEqual(['blk0 why', 'net0 why']);
  clock.now += 999;
  all();
  expect(told.length).toBe(2);
  clock.now += 1;
  all();
  expect(told.length).toBe(4);
});
