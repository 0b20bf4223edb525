/**
 * Goal: a trace event costs nothing while nothing listens to it, and reaches each listener while
 * one does. Method: tracers made before and after their listener, and fields that count how often
 * they are put together.
 */
import { event, onTrace, tracer, type TraceEvent } from '../../../src/base/trace.js';

function counted() {
  const trace = tracer('tracetest', { one: event<{ n: number }>(), two: event() });
  let built = 0;
  return { trace, say: () => trace.one?.({ n: ++built }), built: () => built };
}

test('the fields of an event that is off are not put together', () => {
  const { say, built } = counted();
  const other = onTrace('tracetest_two', () => undefined);
  say();
  other.dispose();
  expect(built()).toBe(0);
});

test('each listener hears what its pattern names, until it ends', () => {
  const { trace, say, built } = counted();
  const heard: [string, TraceEvent][] = [];
  const listeners = ['tracetest_*', 'tracetest_one', 'elsewhere*'].map(glob =>
    onTrace(glob, e => heard.push([glob, e])),
  );
  say();
  trace.two?.({});
  listeners[1].dispose();
  say();
  listeners.forEach(listener => listener.dispose());
  say();
  const one = (n: number) => ({ name: 'tracetest_one', fields: { n } });
  expect(heard).toEqual([
    ['tracetest_*', one(1)],
    ['tracetest_one', one(1)],
    ['tracetest_*', { name: 'tracetest_two', fields: {} }],
    ['tracetest_*', one(2)],
  ]);
  expect(built()).toBe(2);
});

test('a tracer that is made later is heard too', () => {
  const heard: TraceEvent[] = [];
  const listener = onTrace('tracelate_*', e => heard.push(e));
  const late = tracer('tracelate', { now: event() });
  late.now?.({});
  listener.dispose();
  expect([heard, late.now]).toEqual([[{ name: 'tracelate_now', fields: {} }], undefined]);
});
