/**
 * Goal: the history file is bounded, private, shared without loss, and never in the way; file names
 * as they were begun. Method: real files.
 */
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { filesLike, historyFile, historyPath } from '../../../src/commands/typist.js';
import { MAX_HISTORY_LINES, mayBeKept } from '../../../src/monitor/hmp/history.js';

const dir = mkdtempSync(join(tmpdir(), 'colo-typist-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

test(
  'several sessions: every line is there, in order, the newest first for the next; at most ' +
    'twice the bound',
  () => {
    const path = join(dir, 'a', 'history');
    const sessions = [historyFile(path), historyFile(path)];
    for (let i = 0; i <= 2 * MAX_HISTORY_LINES; i++) sessions[i % 2].add(`line ${i}`);
    const { earlier } = historyFile(path);
    expect([earlier.length, earlier[0], earlier[MAX_HISTORY_LINES - 1]]).toEqual([
      MAX_HISTORY_LINES,
      `line ${2 * MAX_HISTORY_LINES}`,
      `line ${MAX_HISTORY_LINES + 1}`,
    ]);
    expect(readFileSync(path, 'utf8').split('\n').length - 1).toBe(MAX_HISTORY_LINES);
  },
);

test(
  'a lock that is held costs the line, one of the dead does not; no place for the file is no ' +
    'failure',
  () => {
    const path = join(dir, 'history');
    writeFileSync(`${path}.lock`, '');
    historyFile(path).add('lost');
    expect(existsSync(path)).toBe(false);
    utimesSync(`${path}.lock`, 0, 0);
    historyFile(path).add('kept');
    expect(readFileSync(path, 'utf8')).toBe('kept\n');
    historyFile('/proc/none/history').add('x');
    expect(historyFile('/proc/none/history').earlier).toEqual([]);
  },
);

test('what is kept', () => {
  expect(['info name', 'migrate -d tcp:h:1'].every(mayBeKept)).toBe(true);
  const not = [
    ' info name',
    '',
    'set_password vnc x',
    'object_add secret,id=s,file=f',
    'change vnc password',
    'object_add tls-creds-psk,id=p',
    'x'.repeat(1025),
    'a\nb',
  ];
  expect(not.filter(mayBeKept)).toEqual([]);
});

test('where it is', () => {
  expect(historyPath({ XDG_STATE_HOME: '/s' })).toBe('/s/colo/history');
  expect(historyPath({ XDG_STATE_HOME: 'relative', HOME: '/h' })).toBe(
    '/h/.local/state/colo/history',
  );
});

test('file names', async () => {
  const images = join(dir, 'images');
  mkdirSync(join(images, 'sub'), { recursive: true });
  for (const name of ['a.img', 'ab.img', '.hidden', 'with blank'])
    writeFileSync(join(images, name), '');
  expect(await filesLike(`${images}/a`)).toEqual([`${images}/a.img`, `${images}/ab.img`]);
  expect(await filesLike(`${images}/`)).toEqual([
    `${images}/a.img`,
    `${images}/ab.img`,
    `${images}/sub/`,
  ]);
  expect(await filesLike(`${images}/.h`)).toEqual([`${images}/.hidden`]);
  expect(await filesLike(`${dir}/nowhere/x`)).toEqual([]);
});
