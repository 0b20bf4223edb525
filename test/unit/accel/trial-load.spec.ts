/**
 * Goal: what a host's KVM would refuse is known before a secondary says that it holds an epoch, and
 * asking changes nothing. Method: a blob whose load refuses, halfway, what its check allows.
 */
import { withTrialLoad } from '../../../src/accel/trial-load.js';

function vcpu() {
  const registers = { first: 1, second: 1 };
  const blob = withTrialLoad({
    save: () => Buffer.from([registers.first, registers.second]),
    check: ([first]) => (first === 0 ? 'first: 0 is not a value' : undefined),
    load: ([first, second]) => {
      registers.first = first;
      if (second > 9) throw new Error(`KVM refused ${second} for MSR 0x277`);
      registers.second = second;
    },
  });
  return { blob, registers };
}

test.each([
  [[0, 5], 'first: 0 is not a value'],
  [[7, 10], 'KVM refused 10 for MSR 0x277'],
  [[7, 5], undefined],
])('%j is looked at, and nothing is changed', (state, wrong) => {
  const { blob, registers } = vcpu();
  expect(blob.check(Buffer.from(state))).toBe(wrong);
  expect(registers).toEqual({ first: 1, second: 1 });
});

test('what was found good is loaded', () => {
  const { blob, registers } = vcpu();
  blob.load(Buffer.from([7, 5]));
  expect(registers).toEqual({ first: 7, second: 5 });
  expect(blob.save()).toEqual(Buffer.from([7, 5]));
});
