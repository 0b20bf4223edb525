// Leaves the counts of a jest run for test/run.js, which adds them up.
import { appendFileSync } from 'node:fs';

export default class Totals {
  onRunComplete(_contexts, results) {
    const {
      numPassedTests: passed,
      numFailedTests,
      numPendingTests,
      numTodoTests,
      numRuntimeErrorTestSuites,
    } = results;
    const counts = {
      passed,
      failed: numFailedTests + numRuntimeErrorTestSuites,
      skipped: numPendingTests + numTodoTests,
    };
    const { COLO_TOTALS: file } = process.env;
    if (file !== undefined) appendFileSync(file, `${JSON.stringify(counts)}\n`);
  }
}
