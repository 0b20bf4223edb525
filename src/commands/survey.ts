/** What VMs say of themselves, for `list` and `status`: asked over QMP, one by one or all at once. */
import { asVmError } from '../base/errors.js';
import { errorCode } from '../host/node/errors.js';
import { isObject } from '../monitor/types.js';
import { connectQmp } from './connect.js';
import { knownNames, nameSocket } from './names.js';

export interface VmLine {
  name: string;
  role: string;
  state: string;
  protected: boolean;
  peer: string | null;
  ageMs: number | null;
  pid: number | null;
}

const patienceMs = 2000;

/** Every live VM of this user. One that does not answer is listed as such; one that was killed is not. */
export async function survey(names = knownNames()): Promise<VmLine[]> {
  const lines = await Promise.all(names.map(one));
  return lines.filter(line => line !== undefined);
}

async function one(name: string): Promise<VmLine | undefined> {
  try {
    const client = await connectQmp({ kind: 'unix', path: nameSocket(name) }, patienceMs);
    try {
      return vmLine(name, await client.execute('query-vm', undefined, patienceMs));
    } finally {
      client.dispose();
    }
  } catch (error) {
    const code = errorCode(asVmError(error).options.cause);
    if (code === 'ECONNREFUSED' || code === 'ENOENT') return undefined;
    return { name, role: 'unknown', state: 'not answering', protected: false, peer: null, ageMs: null, pid: null };
  }
}

export function vmLine(name: string, info: unknown): VmLine {
  const given = isObject(info) ? info : {};
  const text = (key: string, otherwise: string) => (typeof given[key] === 'string' ? given[key] : otherwise);
  const number = (key: string) => (typeof given[key] === 'number' ? given[key] : null);
  return { name, role: text('role', 'unknown'), state: text('status', 'unknown'), protected: given['protected'] === true, peer: text('peer', '') || null, ageMs: number('age-ms'), pid: number('pid') };
}

/** `45s`, `3m`, `2h`, `5d`: one unit, as in a list. */
export function age(ms: number | null): string {
  if (ms === null) return '-';
  const seconds = Math.floor(ms / 1000);
  const units = [[86_400, 'd'], [3600, 'h'], [60, 'm']] as const;
  const unit = units.find(([size]) => seconds >= size);
  return unit ? `${Math.floor(seconds / unit[0])}${unit[1]}` : `${seconds}s`;
}

/** For people: a head, aligned columns. For a pipe: no head, tabs. */
export function columns(head: readonly string[], rows: readonly (readonly string[])[], forPeople: boolean): string {
  if (!forPeople) return rows.map(row => `${row.join('\t')}\n`).join('');
  const widths = head.map((title, i) => Math.max(title.length, ...rows.map(row => row[i].length)));
  return [head, ...rows].map(row => `${row.map((cell, i) => cell.padEnd(widths[i])).join('  ').trimEnd()}\n`).join('');
}
