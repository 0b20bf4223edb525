/**
 * Deliberate faults, for `npm run test:mutants`: each breaks one rule of a checkpoint, and the
 * suite must notice. A test process chooses one before anything else (test/support/setup.js); an
 * ordinary run pays one comparison.
 */
export const mutants = [
  'packets-released-early',
  'device-writes-not-dirty',
  'write-not-copied',
  'no-copy-before-write',
  'overlays-not-emptied',
  'loaded-before-whole',
  'aborted-pages-forgotten',
  'sent-pages-kept',
  'mark-lost',
  'mark-not-durable',
  'settled-without-flush',
] as const;
export type Mutant = (typeof mutants)[number];

let chosen: Mutant | undefined;

/** From here on this process breaks that rule. */
export function breakRule(name: Mutant): void {
  chosen = name;
}

export function mutant(name: Mutant): boolean {
  return chosen === name;
}
