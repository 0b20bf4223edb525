/** What a user waits for, and a session or its peer decides. */
import type { VmError } from '../base/errors.js';

export class Outcome {
  done!: () => void;
  fail!: (error: VmError) => void;
  readonly settled = new Promise<void>((resolve, reject) => {
    this.done = resolve;
    this.fail = reject;
  });

  constructor() {
    // Its user may have gone.
    this.settled.catch(() => undefined);
  }
}
