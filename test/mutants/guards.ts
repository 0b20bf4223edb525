/** Which specs guard which rule. */
import type { Mutant } from '../../src/base/mutant.js';

export const guards: Record<Mutant, readonly string[]> = {
  'packets-released-early': ['test/sim/colo-sim.spec.ts'],
  'device-writes-not-dirty': ['test/native/ram.spec.ts'],
  'write-not-copied': ['test/unit/block/drivers/replication/primary.spec.ts'],
  'no-copy-before-write': ['test/unit/block/drivers/replication/secondary.spec.ts'],
  'overlays-not-emptied': ['test/unit/block/drivers/replication/secondary.spec.ts'],
  'loaded-before-whole': ['test/sim/colo-sim.spec.ts'],
  'aborted-pages-forgotten': ['test/sim/takeover.spec.ts'],
  'sent-pages-kept': ['test/sim/packed-pages.spec.ts'],
  'mark-lost': ['test/sim/bitmap.spec.ts'],
  'mark-not-durable': ['test/unit/block/record/image-bitmap.spec.ts'],
  'settled-without-flush': ['test/sim/bitmap.spec.ts'],
};
