/**
 * What a person brings to a prompt on this host: the lines typed before, kept for the next session,
 * and files whose names Tab completes.
 */
import {
  appendFileSync,
  closeSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { readdir } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { NodeClock } from '../host/node/clock.js';
import { makeFolder, PRIVATE_FOLDER } from '../host/node/folder.js';
import { type History, MAX_HISTORY_LINES } from '../monitor/hmp/history.js';
import type { Typist } from '../monitor/hmp/monitor.js';
import { notesGoTo } from './output.js';

type Env = Readonly<Record<string, string | undefined>>;

const PRIVATE_FILE_MODE = 0o600;
/** The file is cut back to maxHistoryLines when it is twice as long. */
const MAX_FILE_BYTES = 1 << 20;
/** Whoever held the lock for so long is dead. */
const LOCK_TIMEOUT_MS = 2000;
const LOCK_ATTEMPTS = 50;
const MAX_FILES = 500;

export const processTypist = (): Typist => ({
  clock: new NodeClock(),
  history: historyFile(historyPath(process.env)),
  files: prefix => filesLike(prefix),
  notes: notesGoTo,
});

/** XDG_STATE_HOME, or ~/.local/state. */
export function historyPath(env: Env): string {
  const given = env['XDG_STATE_HOME'];
  return join(
    given !== undefined && given.startsWith('/')
      ? given
      : join(env['HOME'] ?? homedir(), '.local/state'),
    'colo',
    'history',
  );
}

/** A place that cannot be written keeps nothing, and nobody is bothered. */
export function historyFile(path: string): History {
  return { earlier: earlierLines(path).reverse(), add: line => attempt(() => append(path, line)) };
}

function earlierLines(path: string): string[] {
  const text =
    attempt(() => (statSync(path).size <= 2 * MAX_FILE_BYTES ? readFileSync(path, 'utf8') : '')) ??
    '';
  return text
    .split('\n')
    .filter(line => line !== '')
    .slice(-MAX_HISTORY_LINES);
}

/**
 * Sessions share the file: a line goes to its end, whoever was there before. Cutting it back
 * replaces the file, so nobody may append meanwhile: whoever finds the lock taken keeps this line
 * to itself rather than wait at a prompt.
 */
function append(path: string, line: string): void {
  makeFolder(dirname(path), PRIVATE_FOLDER);
  const lock = `${path}.lock`;
  if (!take(lock)) return;
  try {
    appendFileSync(path, `${line}\n`, { mode: PRIVATE_FILE_MODE });
    trim(path);
  } finally {
    rmSync(lock, { force: true });
  }
}

function trim(path: string): void {
  const lines = readFileSync(path, 'utf8')
    .split('\n')
    .filter(one => one !== '');
  if (lines.length <= 2 * MAX_HISTORY_LINES && statSync(path).size <= MAX_FILE_BYTES) return;
  const fresh = `${path}.${process.pid}`;
  writeFileSync(fresh, `${lines.slice(-MAX_HISTORY_LINES).join('\n')}\n`, {
    mode: PRIVATE_FILE_MODE,
  });
  renameSync(fresh, path);
}

/** Held for less than a millisecond; a few attempts are enough. */
function take(lock: string): boolean {
  for (let n = 0; n < LOCK_ATTEMPTS; n++) {
    if (attempt(() => (closeSync(openSync(lock, 'wx', PRIVATE_FILE_MODE)), true))) return true;
    if (Date.now() - (attempt(() => statSync(lock).mtimeMs) ?? Date.now()) > LOCK_TIMEOUT_MS)
      rmSync(lock, { force: true });
  }
  return false;
}

function attempt<T>(what: () => T): T | undefined {
  try {
    return what();
  } catch {
    return undefined;
  }
}

/** Names that begin like this, as they were begun, below base; folders end in a slash. */
export async function filesLike(prefix: string, base = '.'): Promise<string[]> {
  const slash = prefix.lastIndexOf('/') + 1;
  const folder = prefix.slice(0, slash);
  const begun = prefix.slice(slash);
  const found = await readdir(resolve(base, folder), { withFileTypes: true }).catch(() => []);
  return found
    .filter(
      entry =>
        entry.name.startsWith(begun) &&
        (begun.startsWith('.') || !entry.name.startsWith('.')) &&
        !/\s/.test(entry.name),
    )
    .map(entry => `${folder}${entry.name}${entry.isDirectory() ? '/' : ''}`)
    .sort()
    .slice(0, MAX_FILES);
}
