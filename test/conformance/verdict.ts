/** What a program of kvm-unit-tests has found, from its output and its exit code. */

export type Outcome = 'passed' | 'failed' | 'skipped' | 'too long' | 'did not run';

export interface Verdict {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  readonly outcome: Outcome;
}

/** What a program says through isa-debug-exit is 2n+1: 0 for n is a success, 38 nothing to test. */
const Status = { SUCCESS: 1, SKIPPED: 77 } as const;

/** status: undefined when it was ended at its bound of time. errors: what colo itself has said. */
export function verdictOf(status: number | undefined, output: string, errors: string): Verdict {
  const lines = output.split(/\r?\n/);
  const count = (word: string) => lines.filter(line => line.startsWith(`${word}: `)).length;
  const counts = { passed: count('PASS'), failed: count('FAIL'), skipped: count('SKIP') };
  return { ...counts, outcome: outcomeOf(status, output, errors, counts.failed) };
}

/** colo's own refusals have exit code 1, as a success has: those come with a sentence. */
function outcomeOf(
  status: number | undefined,
  output: string,
  errors: string,
  failed: number,
): Outcome {
  if (status === undefined) return 'too long';
  if (/^Error: /m.test(errors) || output === '') return 'did not run';
  if (status === Status.SKIPPED) return 'skipped';
  return status === Status.SUCCESS && failed === 0 ? 'passed' : 'failed';
}
