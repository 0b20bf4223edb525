/**
 * Goal: words that may be given more than once count as often as they stand there, and in that
 * order, in every command that takes such words. Method: each command that says so, found in the
 * table of all, with equal words between others; the words of oclif's parser, and the program.
 */
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { Parser } from '@oclif/core';
import { wordsInOrder } from '../../../src/commands/base.js';
import { commands } from '../../../src/commands/index.js';
import { parseArgv } from '../../../src/commands/options/argv.js';
import { optionTable } from '../../../src/commands/options/table.js';
import { Tool } from '../../../src/commands/tool.js';
import { type Declared, plainWords } from '../../../src/commands/words.js';
import { type FakeQmp, fakeQmp } from '../../support/fake-qmp.js';

const dev = fileURLToPath(new URL('../../../bin/dev.js', import.meta.url));
let qmp: FakeQmp;
beforeAll(async () => void (qmp = await fakeQmp()));
afterAll(() => qmp.close());

interface FlagLike {
  multiple?: boolean;
  min?: number;
}
interface CommandLike {
  strict?: boolean;
  args?: Readonly<Record<string, { required?: boolean }>>;
  flags?: Readonly<Record<string, FlagLike>>;
}
const all = Object.entries(commands) as [string, CommandLike][];

const parse = (argv: string[], command: unknown) =>
  Parser.parse(argv, { ...(command as object), context: { argv } as never });

function colo(...args: string[]): Promise<{ out: string; code: number | null }> {
  const child = spawn(process.execPath, ['--import', 'tsx', dev, ...args], {
    env: { ...process.env, NODE_OPTIONS: '', FORCE_COLOR: undefined },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let out = '';
  for (const pipe of [child.stdout, child.stderr]) {
    pipe.on('data', (bytes: Buffer) => (out += bytes.toString()));
  }
  return new Promise(resolve => child.once('close', code => resolve({ out, code })));
}

test('who takes any number of words', () => {
  const loose = all.filter(([, { strict }]) => strict === false).map(([name]) => name);
  // hmp: below, by the program. The others have a parser of their own, which is below too.
  expect(loose.sort()).toEqual(['hmp', 'primary', 'secondary']);
});

test('lines of the monitor run in the order in which they were given', async () => {
  const lines = ['info status', 'stop', 'info status', 'cont', 'info status', 'stop'];
  const { out, code } = await colo('hmp', `unix:${qmp.path}`, ...lines, '--json');
  const ran = JSON.parse(out) as { line: string; output: string }[];
  expect([ran.map(({ line }) => line), code]).toEqual([lines, 0]);
  const said = ran.map(({ output }) => output).filter(output => output !== '');
  expect(said).toEqual(['VM status: running\n', 'VM status: paused\n', 'VM status: running\n']);
  expect(qmp.vm.machine.runState).toBe('paused');
});

test('a word that looks like an option is refused, or comes behind --', async () => {
  const { Hmp } = await import('../../../src/commands/hmp.js');
  const words = async (...argv: string[]) => wordsInOrder(await parse(argv, Hmp));
  expect(await words('a', 'b', '--timeout', '5', 'b', 'a')).toEqual(['a', 'b', 'b', 'a']);
  expect(await words('a', '--', '-x', 'b', '-x')).toEqual(['a', '-x', 'b', '-x']);
  await expect(words('a', '-x', 'b')).rejects.toThrow('Nonexistent flag: -x');
});

test('every option that may be repeated keeps its values', async () => {
  const found: string[] = [];
  for (const [name, command] of all) {
    for (const [flag, declared] of Object.entries(command.flags ?? {})) {
      if (!declared.multiple) continue;
      found.push(`${name} --${flag}`);
      const values = declared.min !== undefined ? ['7', '9', '7'] : ['x=1', 'y=2', 'x=1'];
      const given = values.flatMap(value => [`--${flag}`, value]);
      const needed = Object.values(command.args ?? {}).filter(arg => arg.required);
      const argv = [...needed.map(() => 'word'), ...given];
      const isTool = (command as { prototype?: unknown }).prototype instanceof Tool;
      const { flags } = isTool
        ? plainWords(argv, command as Declared)!
        : await parse(argv, command);
      const kept = (flags as Record<string, unknown[]>)[flag].map(String);
      expect([name, flag, kept]).toEqual([name, flag, values]);
    }
  }
  expect(found).toContain('qmp --wait-event');
});

test('so does every option of QEMU that may be repeated', () => {
  for (const option of optionTable) {
    if (!('repeatable' in option)) continue;
    const values = ['a', 'b', 'a'];
    const argv = values.flatMap(value => [`-${option.name}`, value]);
    expect(parseArgv(argv, optionTable, {}).map(({ value }) => value)).toEqual(values);
  }
});

test('the same event twice is two events', async () => {
  const twice = ['--wait-event', 'STOP:0.3', '--wait-event', 'STOP:0.3'];
  const { out, code } = await colo('qmp', `unix:${qmp.path}`, 'stop', ...twice);
  expect([code, out.match(/"event": "STOP"/g)?.length]).toEqual([1, 1]);
  expect(out).toContain('no STOP within 0.3 s');
});
