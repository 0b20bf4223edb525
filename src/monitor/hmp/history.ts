/**
 * Lines that were typed before. Where they are kept is the caller's; what may not be kept is
 * decided here.
 */
export interface History {
  /** Of earlier sessions, the newest first. */
  readonly earlier: readonly string[];
  add(line: string): void;
}

export const MAX_HISTORY_LINES = 1000;
export const MAX_HISTORY_LINE_BYTES = 1024;

/** A line that begins with a blank, or speaks of a secret, stays in memory. */
export function mayBeKept(line: string): boolean {
  return (
    line.trim() !== '' &&
    !/^\s/.test(line) &&
    !/passw|secret|\bpsk\b|\bkey=|\bdata=/i.test(line) &&
    Buffer.byteLength(line) <= MAX_HISTORY_LINE_BYTES &&
    !line.includes('\n')
  );
}
