/**
 * What VMs say of themselves, for `list` and `status`: asked over QMP, one by one or all at once.
 */
import { asVmError } from '../base/errors.js';
import { errorCode } from '../host/node/errors.js';
import { isObject } from '../words/types.js';
import { ageText, type Health } from '../monitor/health.js';
import { pairStandings, type PairStanding } from '../qapi/types.js';
import { connectQmp } from './connect.js';
import { knownNames, nameSocket } from './names.js';

export interface VmLine {
  name: string;
  role: string;
  state: string;
  protected: boolean;
  /** How the pair stands; of a VM that does not say: unknown. */
  pair: PairStanding | 'unknown';
  /** The other side goes on with the guest. */
  superseded: boolean;
  /** Why COLO, or the way into it, ended the last time. */
  error: string | null;
  sinceMs: number | null;
  lastCheckpointMs: number | null;
  peer: string | null;
  ageMs: number | null;
  pid: number | null;
}

const PATIENCE_MS = 2000;

/**
 * Every live VM of this user. One that does not answer is listed as such; one that was killed is
 * not.
 */
export async function survey(names = knownNames()): Promise<VmLine[]> {
  const lines = await Promise.all(names.map(lineOf));
  return lines.filter(line => line !== undefined);
}

/** undefined: no VM of this name lives here. */
export async function lineOf(name: string): Promise<VmLine | undefined> {
  try {
    const client = await connectQmp({ kind: 'unix', path: nameSocket(name) }, PATIENCE_MS);
    try {
      return vmLine(name, await client.execute('query-vm', undefined, PATIENCE_MS));
    } finally {
      client.dispose();
    }
  } catch (error) {
    const code = errorCode(asVmError(error).options.cause);
    if (code === 'ECONNREFUSED' || code === 'ENOENT') return undefined;
    return { ...vmLine(name, undefined), state: 'not answering' };
  }
}

export function vmLine(name: string, info: unknown): VmLine {
  const given = isObject(info) ? info : {};
  const text = (key: string, otherwise: string) =>
    typeof given[key] === 'string' ? given[key] : otherwise;
  const number = (key: string) => (typeof given[key] === 'number' ? given[key] : null);
  return {
    name,
    role: text('role', 'unknown'),
    state: text('status', 'unknown'),
    protected: given['protected'] === true,
    pair: pairStandings.find(word => word === given['pair']) ?? 'unknown',
    superseded: given['superseded'] === true,
    error: text('error', '') || null,
    sinceMs: number('since-ms'),
    lastCheckpointMs: number('last-checkpoint-ms'),
    peer: text('peer', '') || null,
    ageMs: number('age-ms'),
    pid: number('pid'),
  };
}

/** Of an answer to query-vm. */
export function healthFrom(vm: unknown): Health {
  const { pair, role, state, error, sinceMs, peer } = vmLine('', vm);
  return {
    pair: pair === 'unknown' ? 'alone' : pair,
    role,
    state,
    why: error ?? undefined,
    sinceMs: sinceMs ?? undefined,
    peer: peer ?? undefined,
  };
}

/**
 * The run state, and where that would mislead, what it means: a secondary does its duty at rest.
 */
export function stateWord({ state, pair }: VmLine): string {
  if (state === 'inmigrate' && pair === 'protected') return 'standby';
  if (state === 'inmigrate' && pair === 'waiting') return 'waiting';
  if (pair === 'lost' || pair === 'held') return pair;
  return state;
}

/** As a person wants to see it from afar: in order, in need of somebody, on the way. */
export function stateColour({ state, pair }: VmLine): 'green' | 'red' | 'yellow' {
  const ill = ['lost', 'held', 'broken', 'superseded'].includes(pair);
  if (ill || ['internal-error', 'io-error', 'not answering'].includes(state)) return 'red';
  return pair === 'protected' ? 'green' : 'yellow';
}

/** `45s`, `3m`, `2h`, `5d`; `-`: it does not say. */
export const ageCell = (ms: number | null): string => (ms === null ? '-' : ageText(ms));

/** For people: a head, aligned columns, cells painted. For a pipe: no head, tabs. */
export function columns(
  head: readonly string[],
  rows: readonly (readonly string[])[],
  forPeople: boolean,
  paint: (cell: string, row: number, column: number) => string = cell => cell,
): string {
  if (!forPeople) return rows.map(row => `${row.join('\t')}\n`).join('');
  const widths = head.map((title, i) => Math.max(title.length, ...rows.map(row => row[i].length)));
  const aligned = (row: readonly string[]) => row.map((cell, i) => cell.padEnd(widths[i]));
  const painted = rows.map((row, y) => aligned(row).map((cell, x) => paint(cell, y, x)));
  return [aligned(head), ...painted].map(row => `${row.join('  ').trimEnd()}\n`).join('');
}
