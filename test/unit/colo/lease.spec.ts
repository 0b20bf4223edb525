/**
 * Goal: output may leave only for the lease after a proof was asked for, whatever the clocks do.
 */
import { Lease, momentOf } from '../../../src/colo/lease.js';

function setup() {
  const time = { monotonic: 0, boot: 0, wall: 1000 };
  const clock = {
    nowMs: () => time.monotonic,
    bootMs: () => time.boot,
    wallMs: () => time.wall,
    timer: () => ({ dispose: () => undefined }),
  };
  const pass = (ms: number, wallMs = ms, bootMs = ms) => {
    time.monotonic += ms;
    time.boot += bootMs;
    time.wall += wallMs;
  };
  const now = () => momentOf(clock);
  return { lease: new Lease(clock, 100), pass, now };
}

it('is invalid before any proof', () => {
  expect(setup().lease.valid).toBe(false);
});

it('counts from when it was asked, not from the answer', () => {
  const { lease, pass, now } = setup();
  const asked = now();
  pass(60);
  lease.prove(asked);
  expect(lease.valid).toBe(true);
  pass(39);
  expect(lease.valid).toBe(true);
  pass(1);
  expect(lease.valid).toBe(false);
});

it('an answer to an older question changes nothing', () => {
  const { lease, pass, now } = setup();
  const old = now();
  pass(50);
  lease.prove(now());
  lease.prove(old);
  pass(90);
  expect(lease.valid).toBe(true);
});

it('after a sleep only a fresh question helps', () => {
  const { lease, pass, now } = setup();
  const before = now();
  lease.prove(before);
  pass(5000);
  lease.prove(before);
  expect(lease.valid).toBe(false);
  lease.prove(now());
  expect(lease.valid).toBe(true);
});

it('counts suspend, although the monotonic clock stood and the wall clock was set back', () => {
  const { lease, pass, now } = setup();
  lease.prove(now());
  pass(1, 1, 5000);
  expect(lease.valid).toBe(false);
  lease.prove(now());
  expect(lease.valid).toBe(true);
});

it('sees a wall clock that went on, or was set, while the other one stood', () => {
  for (const wall of [5000, -5000]) {
    const { lease, pass, now } = setup();
    lease.prove(now());
    pass(1, wall);
    expect(lease.valid).toBe(false);
  }
});

it('once ended, never again', () => {
  const { lease, now } = setup();
  lease.end();
  lease.prove(now());
  expect(lease.valid).toBe(false);
});
