// Ends the run with the plain line that people and machines read: N passed, N failed, N skipped. At
// exit, for jest's own summary comes after every reporter.
import { writeSync } from 'node:fs';

export default class PlainLine {
  onRunComplete(_contexts, results) {
    const {
      numPassedTests,
      numFailedTests,
      numPendingTests,
      numTodoTests,
      numRuntimeErrorTestSuites,
    } = results;
    const failed = numFailedTests + numRuntimeErrorTestSuites;
    process.once('exit', () =>
      writeSync(
        1,
        `${numPassedTests} passed, ${failed} failed, ${numPendingTests + numTodoTests} skipped\n`,
      ),
    );
  }
}
