/**
 * Goal: the throughput is that of the last seconds. Method: a clock of the test, steady streams.
 */
import { Throughput } from '../../../src/migration/throughput.js';

function stream() {
  let nowMs = 0;
  const throughput = new Throughput(() => nowMs);
  /** So many bytes every 100 ms. */
  const flow = (seconds: number, bytes: number) => {
    for (let n = 0; n < seconds * 10; n++) {
      nowMs += 100;
      throughput.add(bytes);
    }
  };
  return { throughput, flow, wait: (ms: number) => void (nowMs += ms) };
}

test('a flood in the past is forgotten, a trickle stays a trickle', () => {
  const { throughput, flow } = stream();
  expect(throughput.bytesPerMs).toBe(0);
  flow(20, 100_000);
  expect(throughput.bytesPerMs).toBeCloseTo(1000, -1);
  flow(3600, 100);
  expect(throughput.bytesPerMs).toBeGreaterThan(0.9);
  expect(throughput.bytesPerMs).toBeLessThan(1.1);
});

test('what is over keeps the figure of its end; a new one begins anew', () => {
  const { throughput, flow, wait } = stream();
  flow(2, 1000);
  wait(60_000);
  expect(throughput.bytesPerMs).toBeCloseTo(10, 5);
  throughput.reset();
  expect(throughput.bytesPerMs).toBe(0);
  flow(1, 500);
  expect(throughput.bytesPerMs).toBeCloseTo(5, 5);
});
