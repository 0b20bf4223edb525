/**
 * Goal: Ctrl-A c between a guest's console and the monitor, as on QEMU's mux, and better: what the
 * guest prints breaks no line. Method: a real pty.
 */
import { fileURLToPath } from 'node:url';
import { keys, Person, temporaryHome } from '../../support/person.js';

const fixture = fileURLToPath(new URL('../../support/repl-fixture.ts', import.meta.url));
const home = temporaryHome();
let person: Person;
const sitDown = async () => {
  person = new Person([fixture, 'mux'], { env: home.env });
  await person.sees('login: ', 'typed');
};
const toTheOther = [keys.ctrlA, 'c'];
afterEach(() => person.kill());
afterAll(() => home.remove());

test('the console first; the monitor by Ctrl-A c, and back to where one was', async () => {
  await sitDown();
  expect(person.text).toBe('guest up\nlogin:');
  await person.press('r');
  await person.sees('login: <"r">');
  await person.press(keys.ctrlA, keys.ctrlA);
  await person.sees('<"\\u0001">');
  await person.press(keys.ctrlC);
  await person.sees('<"\\u0003">');
  await person.press(...toTheOther);
  await person.sees('(colo) ', 'typed');
  expect(person.text).toContain("colo 0.1.0 monitor - type 'help' for more information");
  await person.press('info na');
  await person.press(...toTheOther, 'x');
  await person.sees('<"x">');
  await person.press(...toTheOther);
  await person.sees('(colo) info na', 'typed');
  await person.press('me', keys.enter);
  await person.sees('(colo) info name\ntest\n(colo)');
});

test('what the guest prints stands above the line that is typed', async () => {
  await sitDown();
  await person.press(...toTheOther);
  await person.press('system_reset', keys.enter, 'info st');
  await person.sees('rebooted');
  await person.sees(/login: rebooted\n\(colo\) info st/);
  await person.press('atus', keys.enter);
  await person.sees('(colo) info status\nVM status: running');
  await person.press(keys.ctrlD);
  await person.sees('login: ', 'typed');
  await person.press(...toTheOther);
  await person.sees('(colo) ', 'typed');
});

test('Ctrl-A h, b, s, t, x; the terminal is given back', async () => {
  await sitDown();
  await person.press(keys.ctrlA, 'h');
  await person.sees('Ctrl-A c       switch between console and monitor');
  await person.press(keys.ctrlA, 'b', keys.ctrlA, 's');
  await person.sees(/SysRq\n[^]*saved/);
  await person.press(keys.ctrlA, 't', 'y');
  await person.sees(/\[00:00:0\d\.\d{3}\] <"y">/);
  await person.press(keys.ctrlA, 'x');
  expect(await person.exited).toBe(7);
  expect(person.text).toContain('ended by Ctrl-A x');
});
