/**
 * Deliberate faults, for `npm run test:mutants`: each breaks one rule of a checkpoint, and the
 * suite must notice. A fault is on only when COLO_TEST=1 and COLO_MUTANT names it; both are read
 * once, so an ordinary run pays one comparison.
 */
export const mutants = [
  'packets-released-early',
  'device-writes-not-dirty',
  'write-not-copied',
  'no-copy-before-write',
  'overlays-not-emptied',
  'loaded-before-whole',
  'aborted-pages-forgotten',
] as const;
export type Mutant = (typeof mutants)[number];

const chosen = process.env.COLO_TEST === '1' ? process.env.COLO_MUTANT : undefined;

export function mutant(name: Mutant): boolean {
  return chosen === name;
}
