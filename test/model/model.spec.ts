/**
 * The protocol of a pair with an arbiter is proved, and the code has what was proved. Method: spin
 * searches every run of the model (skipped by name where spin or gcc is not installed), the whole
 * one and each with a deliberate error; the moves of the model are compared with the code's table.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { arbiterEvents, arbiterStates, arbitrationTable } from '../../src/arbiter/arbitration.js';
import { read, root } from '../support/sources.js';

const model = read('test/model/pair.pml');
const inCode = (name: string) => name.replaceAll('_', '-');
const namesOf = (type: string) =>
  new RegExp(`mtype:${type} = \\{([^}]*)\\}`).exec(model)![1].match(/\w+/g)!.map(inCode);

test('the states and the events of the model are those of the code', () => {
  expect(namesOf('state').sort()).toEqual([...arbiterStates].sort());
  expect(namesOf('event').sort()).toEqual([...arbiterEvents].sort());
});

test('each move of the model is one of the table, and each of the table is one of the model', () => {
  const right = model.replace(/^#ifdef E_[^]*?^#(else|endif)$/gm, '');
  const moves = [...right.matchAll(/\bmove\((?:OTHER\(h\)|\w+), (\w+), (\w+), (\w+)\)/g)]
    .map(([, from, event, to]) => [from, event, to].map(inCode).join(' '))
    .filter(move => move !== 'from event to');
  const table = Object.entries(arbitrationTable).flatMap(([from, row]) =>
    Object.entries(row).map(([event, [to]]) => `${from} ${event} ${to}`),
  );
  expect([...new Set(moves)].sort()).toEqual(table.sort());
});

const installed = ['spin', 'gcc'].every(tool => spawnSync('which', [tool]).status === 0);
const withSpin = installed ? describe : describe.skip;

withSpin('every run of the model (skipped where spin or gcc is not installed)', () => {
  let dir: string;
  beforeEach(() => (dir = mkdtempSync(join(tmpdir(), 'model-'))));
  afterEach(() => rmSync(dir, { recursive: true }));

  /** The report of a search: of assertions, or of cycles too. */
  function search(kind: 'safety' | 'liveness', macros: readonly string[]): string {
    const defined = macros.map(name => `-D${name}`);
    const options = kind === 'safety' ? ['-DSAFETY', '-DNOCLAIM'] : ['-DNFAIR=3'];
    const run = (tool: string, args: string[]) => execFileSync(tool, args, { cwd: dir });
    run('spin', [...defined, '-a', join(root, 'test/model/pair.pml')]);
    // An error is found at once, and compiling takes longer than to search for it.
    const optimise = macros.some(name => name.startsWith('E_')) ? '-O0' : '-O2';
    run('gcc', [optimise, '-w', '-DCOLLAPSE', ...options, '-o', 'pan', 'pan.c']);
    const report = spawnSync('./pan', [...(kind === 'safety' ? [] : ['-a', '-f']), '-m1000000'], {
      cwd: dir,
      encoding: 'utf8',
    });
    expect(report.stdout).toMatch(/Full statespace search/);
    return report.stdout;
  }

  test('one side’s output at most, and nothing that anybody was told is lost', () => {
    const report = search('safety', []);
    expect(report).toMatch(/errors: 0/);
    expect(report).not.toMatch(/max search depth too small/);
    // Every line of a host is in some run: nothing is proved by never happening.
    const unreached = /unreached in proctype host\n([^]*?)\n\t\(/.exec(report)?.[1] ?? '';
    expect(unreached.split('\n').filter(line => !/-end-|assert/.test(line))).toEqual([]);
  }, 180_000);

  test('with a right to the guest and an arbiter in reach it goes on', () => {
    expect(search('liveness', ['GOES_ON', 'FAULTS=2'])).toMatch(/errors: 0/);
  }, 180_000);

  test.each([
    ['E_STALE', 'a claim is won by what the record says, without a change of it'],
    ['E_LEASE', 'the owner does not ask its lease before a packet leaves'],
    ['E_OPEN', 'a replica that has won does not wait for the old owner’s lease'],
    ['E_STEP', 'a replica takes over that the record does not call in step'],
    ['E_HOLD', 'an owner’s output leaves while it asks the arbiter'],
    ['E_EARLY', 'output leaves before the replica has acknowledged its epoch'],
    ['E_LOSER', 'an owner that has lost goes on'],
    ['E_COLD', 'a host that was down starts the guest within a lease that it has granted'],
    ['E_OLD', 'a host that was down takes over from a disk that is not whole'],
    ['E_SWAP', 'an owner that hands its guest over says so before its output is shut'],
    ['E_BACK', 'an owner that has handed its guest over goes on without asking'],
    ['E_LEAVE', 'an owner goes on alone before the record calls its replica out of step'],
  ])(
    '%s is found: %s',
    macro => {
      expect(search('safety', [macro])).toMatch(/assertion violated[^]*errors: 1/);
    },
    60_000,
  );

  test('E_STUCK is found: a replica does not ask by itself when its owner is lost', () => {
    expect(search('liveness', ['GOES_ON', 'FAULTS=1', 'E_STUCK'])).toMatch(
      /acceptance cycle[^]*errors: 1/,
    );
  }, 60_000);
});
