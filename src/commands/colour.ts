/** Whether a stream takes colours: on a terminal that wants them. */

/** NO_COLOR (no-color.org), TERM=dumb; otherwise: is it a terminal. */
export function wantsColour(stream: { isTTY?: boolean }, env: Readonly<Record<string, string | undefined>>): boolean {
  if ((env['NO_COLOR'] ?? '') !== '') return false;
  if (env['TERM'] === 'dumb') return false;
  return stream.isTTY === true;
}
