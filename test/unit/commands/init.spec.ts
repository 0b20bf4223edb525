/**
 * Goal: `colo init` as a person meets it: every question with what is usual, a wrong answer told at
 * once and corrected, paths completed, a way back, an old file asked about, Ctrl-C without a trace.
 * Method: keys on a real pseudo-terminal; what was written is read back by the program.
 */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { wanted } from '../../../src/commands/pair/answers.js';
import { parsePair } from '../../../src/commands/pair/read.js';
import { keys, Person, temporaryHome } from '../../support/person.js';

const dev = fileURLToPath(new URL('../../../bin/dev.js', import.meta.url));
const dir = mkdtempSync(join(tmpdir(), 'colo-init-'));
const home = temporaryHome();
let person: Person | undefined;
const init = (...args: string[]) =>
  (person = new Person([dev, 'init', ...args], { env: home.env, columns: 160, rows: 60 }));
afterEach(() => person?.kill());
afterAll(() => {
  rmSync(dir, { recursive: true });
  home.remove();
});

const asked = (name: keyof typeof wanted) =>
  new RegExp(`${wanted[name].text.slice(1).replace(/[()]/g, '\\$&')}`);

test('the questions, a mistake corrected, and the file that comes of it', async () => {
  const file = join(dir, 'web.yaml');
  const terminal = init(file, '--tap', '', '--append', 'quiet', '--insecure');
  const answers = {
    name: 'web',
    peer: '10.0.0.2',
    port: '',
    own: '10.0.0.1',
    arbiter: 'file:/srv/arbiter',
    memory: '1G',
    kernel: '/none/vmlinuz',
    initrd: '',
    disk: 'web.img',
    replica: '',
    size: '4M',
    delay: '',
  } as const;
  for (const [name, answer] of Object.entries(answers) as [keyof typeof answers, string][]) {
    await terminal.sees(asked(name));
    if (name === 'memory') {
      await terminal.press('lots', keys.enter);
      await terminal.sees("'lots' is not a size. Examples: 512 (MiB), 2048M, 2G.");
      await terminal.press(...Array<string>(4).fill(keys.backspace));
    }
    await terminal.press(answer, keys.enter);
    if (name !== 'kernel') continue;
    await terminal.sees("there is no '/none/vmlinuz' on this host. Enter once more");
    await terminal.press(keys.enter);
  }
  await terminal.sees('warning: --kernel /none/vmlinuz: there is no such file on this host');
  await terminal.sees(`colo run ${file}`);
  expect(await terminal.exited).toBe(0);
  expect(parsePair(readFileSync(file, 'utf8'), file)).toMatchObject({
    name: 'web',
    memory: 2 ** 30,
    append: 'quiet',
    'checkpoint-delay': 100,
    peer: { migration: 'tcp:10.0.0.2:8888', nbd: 'tcp:10.0.0.2:8889' },
    arbiter: 'file:/srv/arbiter',
    back: { migration: 'tcp:10.0.0.1:8888', nbd: 'tcp:10.0.0.1:8889' },
    disks: [{ primary: 'web.img', secondary: 'web.img', size: 4 << 20 }],
  });
}, 60_000);

const allButName = [
  '--peer',
  'h',
  '--port',
  '1',
  '--memory',
  '64M',
  '--kernel',
  'k',
  '--initrd',
  '',
  '--append',
  '',
  '--disk',
  '',
  '--tap',
  '',
  '--delay',
  '100',
  '--own',
  '',
  '--arbiter',
  '',
  '--insecure',
];

test('an old file is written over only after a yes; Ctrl-C writes nothing', async () => {
  const file = join(dir, 'old.yaml');
  writeFileSync(file, 'old');
  let terminal = init(file, '--name', 'n', ...allButName);
  await terminal.sees('Go on all the same? [y/N]');
  await terminal.press(keys.enter);
  await terminal.sees('Error: nothing was done');
  expect([await terminal.exited, readFileSync(file, 'utf8')]).toEqual([1, 'old']);
  terminal = init(file, '--name', 'n', ...allButName);
  await terminal.sees('Go on all the same? [y/N]');
  await terminal.press('y', keys.enter);
  expect([await terminal.exited, parsePair(readFileSync(file, 'utf8'), file).name]).toEqual([
    0,
    'n',
  ]);
  terminal = init(join(dir, 'none.yaml'), ...allButName);
  await terminal.sees(asked('name'));
  await terminal.press(keys.ctrlC);
  await terminal.sees('Error: nothing was written');
  expect([await terminal.exited, existsSync(join(dir, 'none.yaml'))]).toEqual([1, false]);
}, 60_000);

test('Tab completes paths below the definition and what is usual; Backspace clears it', async () => {
  mkdirSync(join(dir, 'boot'));
  for (const name of ['boot/vmlinuz-6.1', 'boot/vmlinuz-6.1.old', 'boot/initrd.img'])
    writeFileSync(join(dir, name), '');
  const file = join(dir, 'tab.yaml');
  const given = allButName.filter((_, n) => ![6, 7, 8, 9, 10, 11].includes(n));
  const terminal = init(file, '--name', 'n', ...given);
  await terminal.sees(asked('kernel'));
  await terminal.press('bo', keys.tab);
  await terminal.sees(/boot\/$/, 'typed');
  await terminal.press('vm', keys.tab);
  await terminal.sees(/boot\/vmlinuz-6\.1$/, 'typed');
  await terminal.press(keys.enter);
  await terminal.sees(asked('initrd'));
  await terminal.press('boot/i', keys.tab);
  await terminal.sees(/boot\/initrd\.img$/, 'typed');
  await terminal.press(keys.enter);
  await terminal.sees(/Kernel command line \(console=ttyS0\) $/, 'typed');
  await terminal.press(keys.tab);
  await terminal.sees(/console=ttyS0$/, 'typed');
  await terminal.press(...Array<string>('console=ttyS0'.length + 1).fill(keys.backspace));
  await terminal.sees(/Kernel command line $/, 'typed');
  await terminal.press(keys.enter);
  expect(await terminal.exited).toBe(0);
  const pair = parsePair(readFileSync(file, 'utf8'), file);
  expect(pair).toMatchObject({ kernel: 'boot/vmlinuz-6.1', initrd: 'boot/initrd.img' });
  expect(pair.append).toBeUndefined();
}, 60_000);

test('Up goes back over what was asked, with the former answer as the usual one', async () => {
  const file = join(dir, 'back.yaml');
  const terminal = init(file, '--kernel', 'boot/vmlinuz', ...allButName.slice(8));
  const question = (name: keyof typeof wanted, usual: string) =>
    new RegExp(`${asked(name).source} \\(${usual}\\) $`);
  await terminal.sees(question('name', 'vm'), 'typed');
  await terminal.press(keys.up);
  await terminal.sees(/\? Name of the pair \(vm\)\s+\? Name of the pair \(vm\)/);
  await terminal.press('web', keys.enter);
  await terminal.sees(question('peer', '127.0.0.1'), 'typed');
  await terminal.press('10.0.0.9', keys.enter);
  await terminal.sees(question('port', '8888'), 'typed');
  await terminal.press('12', keys.up);
  await terminal.sees(question('peer', '10.0.0.9'), 'typed');
  await terminal.press(keys.up);
  await terminal.sees(question('name', 'web'), 'typed');
  await terminal.press('shop', keys.enter);
  await terminal.sees(question('peer', '10.0.0.9'), 'typed');
  await terminal.press(keys.enter);
  await terminal.sees(question('port', '8888'), 'typed');
  await terminal.press(keys.enter);
  await terminal.sees(question('memory', '512M'), 'typed');
  await terminal.press(keys.enter);
  expect(await terminal.exited).toBe(0);
  expect(parsePair(readFileSync(file, 'utf8'), file)).toMatchObject({
    name: 'shop',
    peer: { migration: 'tcp:10.0.0.9:8888' },
  });
}, 60_000);
