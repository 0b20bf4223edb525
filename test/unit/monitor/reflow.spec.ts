/**
 * Goal: after a change of width the editor goes up by the rows that are there, on a terminal that
 * sets a wrapped line anew, on one that leaves it, and on one that does not answer. Method: an
 * editor of 20 columns whose line takes two rows, a terminal of the test, 40 columns afterwards.
 */
import { createInterface, type Interface } from 'node:readline';
import { Readable, Writable } from 'node:stream';
import { Reflow } from '../../../src/monitor/hmp/reflow.js';

const line = 'a line that takes two rows';

function sitDown() {
  let out = '';
  let resize: () => void = () => undefined;
  const timers: (() => void)[] = [];
  const output = new Writable({
    write: (chunk, _e, done) => (void (out += String(chunk)), done()),
  });
  const terminal = { columns: 20, onResize: (fn: () => void) => void (resize = fn) };
  Object.defineProperty(output, 'columns', { get: () => terminal.columns });
  const input = new Readable({ read: () => undefined });
  const editor: Interface = createInterface({ input, output, terminal: true, prompt: '' });
  const clock = {
    timer: (_ms: number, fn: () => void) => {
      timers.push(fn);
      return { dispose: () => void timers.splice(timers.indexOf(fn), 1) };
    },
  };
  const screen = { terminal, clock: clock as never, write: (text: string) => void (out += text) };
  const reflow = new Reflow(editor, screen, () => output.emit('resize'));
  editor.write(line);
  out = '';
  terminal.columns = 40;
  resize();
  expect(out).toBe('\x1b[6n');
  out = '';
  return { reflow, timers, output: () => out, close: () => editor.close() };
}

const up = /\x1b\[(\d+)A/;

test('a terminal that sets the line anew: its cursor is on the first row', () => {
  const { reflow, output, timers, close } = sitDown();
  expect(reflow.key(`\x1b[7;${line.length + 1}R`)).toBe(true);
  expect([output().includes(line), up.exec(output()), timers.length]).toEqual([true, null, 0]);
  close();
});

test('a terminal that leaves the rows as they are', () => {
  const { reflow, output, close } = sitDown();
  expect(reflow.key(`\x1b[7;${line.length - 20 + 1}R`)).toBe(true);
  expect([output().includes(line), up.exec(output())?.[1]]).toEqual([true, '1']);
  expect(reflow.key('\x1b[1;1R')).toBe(true);
  expect(reflow.key('\x1b[A')).toBe(false);
  close();
});

test('a terminal that does not answer leaves them too', () => {
  const { output, timers, close } = sitDown();
  timers[0]();
  expect([output().includes(line), up.exec(output())?.[1]]).toEqual([true, '1']);
  close();
});
