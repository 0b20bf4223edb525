/**
 * Untrusted text (of a peer, a guest, an image) in a sentence for people: control characters
 * become visible, a line stays one line, and its length has a bound.
 */

/**
 * C0 and C1 controls, line and paragraph separators, marks that turn the direction of writing, and
 * halves of a pair.
 */
const UNSAFE =
  /[\u0000-\u001f\u007f-\u009f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]|\p{Cs}/gu;

export function printable(text: string, limit = 1000): string {
  const safe = text.slice(0, limit + 1).replace(UNSAFE, visible);
  return safe.length <= limit
    ? safe
    : `${safe.slice(0, Math.max(0, limit - 3)).replace(/\p{Cs}$/u, '')}...`;
}

/** The same for text of several lines. */
export function printableLines(text: string): string {
  return text
    .split('\n')
    .map(line => printable(line, 100_000))
    .join('\n');
}

function visible(char: string): string {
  const code = char.charCodeAt(0);
  return code < 0x100
    ? `\\x${code.toString(16).padStart(2, '0')}`
    : `\\u${code.toString(16).padStart(4, '0')}`;
}
