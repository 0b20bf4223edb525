/**
 * Goal: no driver of an e1000 harms it or the host: rings that are nowhere, descriptors that lead
 * nowhere, packets without an end. Method: the card on a bus without CPUs.
 */
import { beforeEach, describe, expect, test } from '@jest/globals';
import { CARD_MAC, E1000Bench, type E1000Driver, frame, R } from '../support/e1000-driver.js';

let it: E1000Bench;
let driver: E1000Driver;
beforeEach(() => {
  it = new E1000Bench();
  ({ driver } = it);
  driver.start();
});

describe('a guest gone mad', () => {
  test.each([
    ['no length', { length: 0, head: 0, tail: 5 }],
    ['a tail beyond its end', { length: 256, head: 0, tail: 300 }],
    ['a head beyond its end', { length: 256, head: 99, tail: 3 }],
    ['no memory', { length: 256, head: 0, tail: 3, high: 0xffff }],
  ])('rings with %s', (_what, { length, head, tail, high = 0 }: Record<string, number>) => {
    for (const ring of [R.TDBAL, R.RDBAL]) {
      driver.set(ring + 4, high);
      driver.set(ring + 8, length);
      driver.set(ring + 0x10, head);
      driver.set(ring + 0x18, tail);
    }
    it.net.arrive(frame(60));
    expect([it.net.sent.length, it.card.failure]).toEqual([0, undefined]);
  });

  test('data outside of memory is dropped, and the next packet goes', () => {
    driver.queue([0, 0xffff_ffff, 60 + 0x0900_0000, 0]);
    driver.send(frame(60));
    expect([it.net.sent, driver.done(0)]).toEqual([[frame(60)], 1]);
  });

  test('a buffer outside of memory swallows its frame', () => {
    driver.offer(1, 0xf000_0000);
    driver.offer(1);
    it.net.arrive(frame(60, CARD_MAC, 1));
    it.net.arrive(frame(60, CARD_MAC, 2));
    expect(it.vm.ram.readU8(0x100000 + 0x4000 + 20)).toBe(2);
  });

  test('a packet that never ends is dropped up to its end', () => {
    for (let n = 0; n < 15; n++) driver.queue([0x200000, 0, 100, 0]);
    driver.kick();
    expect([it.net.sent.length, driver.get(R.TDH)]).toEqual([0, 15]);
    driver.queue([0x200000, 0, 100 + 0x0100_0000, 0]);
    driver.send(frame(60));
    expect(it.net.sent).toEqual([frame(60)]);
  });
});
