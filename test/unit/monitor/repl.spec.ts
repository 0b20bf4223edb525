/**
 * Goal: the line editor as a person meets it: keys in, screen out. Method: a process on a real pseudo-terminal; its output goes through a
 * small screen. Tab and control keys are writes of their own, for an editor takes a chunk of text as pasted.
 */
import { fileURLToPath } from 'node:url';
import { spawn, type IPty } from '@lydell/node-pty';
import { Screen } from '../../support/screen.js';

const fixture = fileURLToPath(new URL('../../support/repl-fixture.ts', import.meta.url));
const keys = { tab: '\t', enter: '\r', up: '\x1b[A', left: '\x1b[D', ctrlC: '\x03', ctrlD: '\x04', backspace: '\x7f' };

class Person {
  readonly screen: Screen;
  readonly exited: Promise<number>;
  private readonly pty: IPty;

  constructor(columns = 80) {
    this.screen = new Screen(columns);
    this.pty = spawn(process.execPath, ['--import', 'tsx', fixture], { cols: columns, rows: 24, env: { ...process.env, TERM: 'xterm', NODE_OPTIONS: '' } });
    this.pty.onData(text => this.screen.write(text));
    this.exited = new Promise(resolve => this.pty.onExit(({ exitCode }) => resolve(exitCode)));
  }

  async press(...what: string[]): Promise<void> {
    for (const key of what) {
      this.pty.write(key);
      await new Promise(resolve => setTimeout(resolve, 30));
    }
  }

  async sees(text: string, where: 'text' | 'typed' = 'text'): Promise<void> {
    const deadline = performance.now() + 15_000;
    while (where === 'text' ? !this.screen.text.includes(text) : this.screen.typed !== text) {
      if (performance.now() > deadline) throw new Error(`not seen: ${JSON.stringify(text)}; typed ${JSON.stringify(this.screen.typed)}; screen:\n${this.screen.text}`);
      await new Promise(resolve => setTimeout(resolve, 10));
    }
  }

  kill(): void {
    this.pty.kill('SIGKILL');
  }
}

let person: Person;
const sitDown = async (columns?: number) => {
  person = new Person(columns);
  await person.sees('(colo) ', 'typed');
};
afterEach(() => person.kill());

test('banner, prompt, a command and its output', async () => {
  await sitDown();
  await person.press('info status', keys.enter);
  await person.sees("colo 0.1.0 monitor - type 'help' for more information\n(colo) info status\nVM status: running\n(colo)");
});

test('completion: one candidate is taken, several are shown', async () => {
  await sitDown();
  await person.press('info sta', keys.tab);
  await person.sees('(colo) info status ', 'typed');
  await person.press(keys.enter);
  await person.sees('VM status: running');
  await person.press('info migrate_', keys.tab, keys.tab);
  await person.sees('migrate_capabilities  migrate_parameters');
});

test('history and editing', async () => {
  await sitDown();
  await person.press('info nmae', keys.left, keys.left, keys.backspace, keys.left, 'a', keys.enter);
  await person.sees('unknown command');
  await person.press('info name', keys.enter);
  await person.sees('\ntest\n');
  await person.press(keys.up);
  await person.sees('(colo) info name', 'typed');
});

test('Ctrl-C cancels the line, and nothing else', async () => {
  await sitDown();
  await person.press('quit', keys.ctrlC);
  await person.sees('(colo) quit^C\n(colo)');
  await person.sees('(colo) ', 'typed');
  await person.press('info name', keys.enter);
  await person.sees('(colo) info name\ntest');
});

test.each([80, 30])('an event does not break the line that is typed (%s columns)', async columns => {
  await sitDown(columns);
  await person.press('system_powerdown', keys.enter);
  await person.sees('(colo) ', 'typed');
  await person.press('info migrate_capab');
  await person.sees('[COLO_EXIT mode=');
  await new Promise(resolve => setTimeout(resolve, 100));
  await person.press('ilities', keys.enter);
  await person.sees('x-colo: off');
  const shown = person.screen.text.replaceAll('\n', columns === 80 ? '\n' : '');
  expect(shown).toContain('[COLO_EXIT mode=primary reason=error]');
  expect(shown).toContain('(colo) info migrate_capabilities');
  expect(shown.split('[COLO_EXIT')).toHaveLength(2);
});

test('Ctrl-D leaves the monitor, not the VM', async () => {
  await sitDown();
  await person.press(keys.ctrlD);
  await person.sees("left the monitor; the VM goes on ('quit' would end it, as Ctrl-C does now)");
  const gone = await Promise.race([person.exited, new Promise(resolve => setTimeout(() => resolve('alive'), 300))]);
  expect(gone).toBe('alive');
});

test('quit ends it', async () => {
  await sitDown();
  await person.press('quit', keys.enter);
  expect(await person.exited).toBe(7);
});
