/**
 * What one word means, wherever it stands: a switch, a number, a size, a port, HOST:PORT.
 * undefined: it is not one; the sentence is the caller's, who knows what was asked for.
 */
import { VmError } from '../base/errors.js';

const switches: Readonly<Record<string, boolean>> = {
  on: true,
  yes: true,
  true: true,
  y: true,
  off: false,
  no: false,
  false: false,
  n: false,
};

/** `on` and `off`, and QEMU's other words for them. */
export const switchOf = (word: string): boolean | undefined =>
  Object.hasOwn(switches, word) ? switches[word] : undefined;

/** what: whose value it is, for the sentence. */
export function needSwitch(word: string, what: string): boolean {
  const on = switchOf(word);
  if (on === undefined) throw new VmError(`${what} is on or off, not '${word}'`);
  return on;
}

/** The same in QEMU's first words; what is none stays as it is. */
export function onOrOff(word: string): string {
  const on = switchOf(word);
  return on === undefined ? word : on ? 'on' : 'off';
}

/** Decimal or hexadecimal, with or without a minus. */
export function integerOf(word: string): number | undefined {
  if (!/^-?(0[xX][0-9a-fA-F]+|[0-9]+)$/.test(word)) return undefined;
  return word.startsWith('-') ? -Number(word.slice(1)) : Number(word);
}

/** `512`, `1.5G`, `64k`: suffixes b k M G T P E of 1024; unit: what no suffix means. */
export function parseSize(text: string, unit: 'B' | 'M' = 'B'): number | undefined {
  const match = /^([0-9]+(?:\.[0-9]+)?|0[xX][0-9a-fA-F]+)([bkmgtpe]?)$/i.exec(text);
  if (!match) return undefined;
  const power = 'bkmgtpe'.indexOf((match[2] || unit).toLowerCase());
  const bytes = Math.floor(Number(match[1]) * 1024 ** power);
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

/** what: whose value it is, for the sentence. */
export function needSize(word: string, what: string): number {
  const bytes = parseSize(word);
  if (bytes === undefined)
    throw new VmError(`${what} takes a size such as 512M or 2G; not '${word}'`);
  return bytes;
}

/** From 0 to 65535. */
export function portOf(text: string): number | undefined {
  const port = /^[0-9]{1,5}$/.test(text) ? Number(text) : Number.NaN;
  return port <= 65_535 ? port : undefined;
}

/** `HOST:PORT`, `[::1]:PORT`, `:PORT`; what the port is worth is the caller's to say. */
export function splitHostPort(text: string): { host: string; port: string } | undefined {
  const match = /^(?:\[([^\]]+)\]|([^:[\]]*)):([^:]+)$/.exec(text);
  return match ? { host: match[1] ?? match[2], port: match[3] } : undefined;
}

/** `10.0.2.15` as a number of 32 bits. */
export function ipv4Of(text: string): number | undefined {
  if (!/^(0|[1-9][0-9]{0,2})(\.(0|[1-9][0-9]{0,2})){3}$/.test(text)) return undefined;
  const bytes = text.split('.').map(Number);
  return bytes.every(byte => byte <= 255)
    ? bytes.reduce((sum, byte) => sum * 256 + byte, 0)
    : undefined;
}

export const showIpv4 = (address: number): string =>
  [24, 16, 8, 0].map(shift => (address >>> shift) & 255).join('.');
