/** Goal: no program counts as passed that has not said so. Method: outputs and exit codes. */
import { verdictOf } from './verdict.js';

test.each<[string, number | undefined, string, string]>([
  ['passed', 1, 'PASS: a\r\nPASS: b\r\nSUMMARY: 2 tests\r\n', ''],
  ['failed', 3, 'PASS: a\nFAIL: b\n', ''],
  ['failed', 1, 'PASS: a\nFAIL: b\n', ''], // realmode says so in words only
  ['failed', 0, 'PASS: a\n', ''], // powered off before its end
  ['skipped', 77, 'SUMMARY: 0 tests\n', ''],
  ['too long', undefined, 'PASS: a\n', ''],
  ['did not run', 1, '', "Error: -kernel x: Could not read 'x'\n"],
  ['did not run', 1, '', ''],
])('%s: exit code %s', (outcome, status, output, errors) => {
  expect(verdictOf(status, output, errors).outcome).toBe(outcome);
});

test('what passed, failed and was skipped is counted by lines', () => {
  const output = 'enabling apic\nPASS: a\nFAIL: no PASS: here\nSKIP: b\nPASS: c\n';
  expect(verdictOf(3, output, '')).toMatchObject({ passed: 2, failed: 1, skipped: 1 });
});
