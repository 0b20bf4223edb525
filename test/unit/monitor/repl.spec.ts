/**
 * Goal: the line editor as a person meets it: keys in, screen out. Method: a process on a real
 * pseudo-terminal, its output on xterm's screen. Tab and control keys are writes of their own, as
 * fingers make them; a paste is one write.
 */
import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { keys, Person, type Seat, temporaryHome } from '../../support/person.js';

const fixture = fileURLToPath(new URL('../../support/repl-fixture.ts', import.meta.url));
let person: Person;
let home: ReturnType<typeof temporaryHome>;
const sitDown = async (seat: Seat = {}) => {
  person = new Person([fixture], { ...seat, env: { ...home.env, ...seat.env } });
  await person.sees('(colo) ', 'typed');
};
beforeEach(() => void (home = temporaryHome()));
afterEach(() => {
  person.kill();
  home.remove();
});

test('a line and its output, mistakes, editing, pastes, Ctrl-C, Ctrl-L, and the end', async () => {
  await sitDown();
  await person.press('info status', keys.enter);
  await person.sees(
    "colo 0.1.0 monitor - type 'help' for more information\n(colo) info status\nVM status: " +
      'running\n(colo)',
  );
  await person.press('info registers 1', keys.enter);
  await person.sees('Error: CPU not available');
  expect(person.raw).toContain('\x1b[31mError:\x1b[39m');
  await person.press(
    'info nmae',
    keys.left,
    keys.left,
    keys.backspace,
    keys.right,
    'm',
    keys.enter,
  );
  await person.sees('(colo) info name\ntest');
  await person.press('info nmae', keys.enter);
  await person.sees("unknown command: 'info nmae'\nDid you mean 'info name'?");
  await person.press('quit');
  await person.sees('(colo) quit', 'typed');
  await person.press(keys.ctrlC);
  await person.sees(/\(colo\) quit\^C\n\(colo\)$/);
  await person.press('info uuid', keys.ctrlL);
  await person.sees('(colo) info uuid', 'typed');
  expect(person.screenText).toBe('(colo) info uuid');
  await person.press(keys.ctrlC, '\x1b[200~info name\ninfo kvm\n\tstpo\x1b[201~');
  await person.sees('(colo)  stpo', 'typed');
  const pasted = '(colo) info name\ntest\n(colo) info kvm\nkvm support: disabled\n(colo)  stpo';
  expect(person.screenText).toContain(pasted);
  await person.press(keys.ctrlC, keys.ctrlL, 'info name\rinfo kvm\r stpo');
  await person.sees('(colo)  stpo', 'typed');
  expect(person.screenText).toBe(pasted);
  await person.press(keys.ctrlC, 'quit', keys.enter);
  expect(await person.exited).toBe(7);
  expect(person.raw.lastIndexOf('\x1b[?2004l')).toBeGreaterThan(
    person.raw.lastIndexOf('\x1b[?2004h'),
  );
});

test('Tab: one candidate is taken, several are shown, files too; tables; watch', async () => {
  mkdirSync(join(home.path, 'images'));
  writeFileSync(join(home.path, 'images', 'disk.img'), '');
  await sitDown({ columns: 120 });
  await person.press('info sta', keys.tab);
  await person.sees('(colo) info status ', 'typed');
  await person.press(keys.ctrlC, 'info migrate_', keys.tab, keys.tab);
  await person.sees('migrate_capabilities  migrate_parameters');
  await person.press(
    keys.ctrlC,
    `drive_add buddy if=none,file.filename=${home.path}/im`,
    keys.tab,
    'di',
    keys.tab,
  );
  await person.sees('images/disk.img');
  await person.press(keys.ctrlC, 'info block', keys.enter);
  await person.sees(/│ disk0 +│ node0 +│/);
  await person.press('wat', keys.tab, '-n 0.1 info status', keys.enter);
  await person.sees('every 0.1 s: info status (any key ends it)\nVM status: running');
  await new Promise(resolve => setTimeout(resolve, 300));
  expect(person.text.match(/VM status/g)).toHaveLength(1);
  await person.press('x');
  await person.sees('(colo) ', 'typed');
  await person.press('watch -n 0.1 -c 2 info name', keys.enter);
  await person.sees(/info name \(any key ends it\)\ntest\n\(colo\)$/);
  await person.press('watch -n x info name', keys.enter);
  await person.sees("watch: seconds from 0.1 to 3600 expected, not 'x'");
});

test(
  'hints: the syntax, then the rest of an earlier line; Ctrl-R; Ctrl-D leaves the monitor, not ' +
    'the VM',
  async () => {
    await sitDown();
    await person.press('migrate_set_capability ');
    await person.sees('capability on|off', 'behind');
    await person.press('x-colo on', keys.enter);
    await person.sees('(colo) ', 'typed');
    await person.sees('', 'behind');
    await person.press('migrate_set_c');
    await person.sees('apability x-colo on', 'behind');
    await person.press(keys.right);
    await person.sees('(colo) migrate_set_capability x-colo on', 'typed');
    await person.press(keys.enter, 'info stat');
    await person.sees('us', 'behind');
    await person.press(keys.ctrlC);
    await person.sees(/info stat\^C\n\(colo\)$/);
    await person.press('info name', keys.enter, 'info kvm', keys.enter);
    await person.sees('kvm support');
    await person.press('stop', keys.ctrlR, 'nfo');
    await person.sees("(reverse-i-search)'nfo': info kvm", 'typed');
    await person.press(keys.ctrlR);
    await person.sees("(reverse-i-search)'nfo': info name", 'typed');
    await person.press(keys.ctrlG);
    await person.sees('(colo) stop', 'typed');
    await person.press(keys.ctrlR, 'am', keys.enter);
    await person.sees(/\(colo\) info name\ntest\n\(colo\)$/);
    await person.press(keys.ctrlD);
    await person.sees("left the monitor; the VM goes on ('quit' would end it, as Ctrl-C does now)");
    const gone = await Promise.race([
      person.exited,
      new Promise(resolve => setTimeout(() => resolve('alive'), 300)),
    ]);
    expect(gone).toBe('alive');
  },
);

test('history: across sessions, private, without secrets; several sessions share it', async () => {
  const second = new Person([fixture], { env: home.env });
  await sitDown();
  const first = person;
  await second.sees('(colo) ', 'typed');
  await first.press(
    'info name',
    keys.enter,
    ' info kvm',
    keys.enter,
    'set_password vnc letmein',
    keys.enter,
  );
  await first.sees('no VNC server');
  await second.press('info uuid', keys.enter);
  await second.sees('00000000-');
  second.kill();
  first.kill();
  const file = join(home.path, 'state/colo/history');
  expect(readFileSync(file, 'utf8')).toBe('info name\ninfo uuid\n');
  expect([statSync(file).mode & 0o777, statSync(join(file, '..')).mode & 0o777]).toEqual([
    0o600, 0o700,
  ]);
  await sitDown();
  await person.press(keys.up);
  await person.sees('(colo) info uuid', 'typed');
  await person.press(keys.up);
  await person.sees('(colo) info name', 'typed');
});

test.each([80, 30])(
  'an event does not break the line that is typed (%s columns)',
  async columns => {
    await sitDown({ columns });
    await person.press('system_powerdown', keys.enter);
    await person.sees('(colo) ', 'typed');
    await person.press('info migrate_capab');
    await person.sees('[JOB_STATUS_CHANGE');
    await new Promise(resolve => setTimeout(resolve, 100));
    await person.press('ilities', keys.enter);
    await person.sees('x-colo');
    const shown = person.text.replaceAll('\n', columns === 80 ? '\n' : '');
    expect(shown.replace(/ +/g, ' ')).toContain('[JOB_STATUS_CHANGE id=copy status=ready]');
    expect(shown).toContain('(colo) info migrate_capabilities');
    expect(shown.split('[JOB_STATUS_CHANGE')).toHaveLength(2);
    await person.press('info block', keys.enter);
    await person.sees(
      columns === 80 ? /│ disk0 +│ node0 +│/ : 'disk0 (node0): /images/a.img\n    (raw), ',
    );
  },
);

test('NO_COLOR: no colours and no hints, all else as ever', async () => {
  await sitDown({ env: { NO_COLOR: '1' } });
  await person.press('stpo', keys.enter, 'info sta', keys.tab, keys.enter);
  await person.sees('VM status: running');
  expect(person.raw).not.toMatch(/\x1b\[[0-9;]*m/);
  expect(person.raw).not.toContain('tus\x1b[');
});

test('TERM=dumb: plain lines that the terminal edits; not one escape sequence', async () => {
  await sitDown({ env: { TERM: 'dumb' } });
  await person.press('info naem', keys.backspace, keys.backspace, 'me\n');
  await person.sees('\ntest\n(colo)');
  expect(person.raw).not.toContain('\x1b');
});

test('what the process logs stands above the line that is typed, and the prompt stays', async () => {
  await sitDown();
  await person.press('system_reset', keys.enter, 'info na');
  await person.sees('colo primary: a line\nof the log\n(colo) info na');
  await person.press('me', keys.enter);
  await person.sees('(colo) info name\ntest\n(colo)');
});

test('comments are skipped, silence is (none), watch only looks', async () => {
  await sitDown();
  await person.press('# info status', keys.enter, '  # stop', keys.enter, 'info pci', keys.enter);
  await person.sees('(colo) # info status\n(colo)   # stop\n(colo) info pci\n(none)\n(colo)');
  for (const line of ['quit', 'stop', 'migrate tcp:h:1', 'watch info name']) {
    await person.press(`watch ${line}`, keys.enter);
    await person.sees(`(colo) watch ${line}\nwatch: `);
  }
  expect(person.text).toContain("watch: 'quit' is no command that only looks");
  await person.press('watch -n 0.1 -c 2 xp /1xb 0', keys.enter);
  await person.sees('every 0.1 s: xp /1xb 0');
  await person.sees('(colo) ', 'typed');
});

test('long lines are cut between words, descriptions below their column', async () => {
  await sitDown({ columns: 60 });
  await person.press('help migrate', keys.enter);
  await person.sees('Example: migrate file:/var/save/vm');
  const rows = person.text.split('\n');
  const words = new Set(rows.join(' ').split(/\s+/));
  for (const word of ['destination', 'becomes', 'secondary', 'unix:PATH,', 'completion)']) {
    expect([word, words.has(word)]).toEqual([word, true]);
  }
  expect(rows.filter(row => row.startsWith(' '.repeat(19))).length).toBeGreaterThan(1);
});

test('a locale without UTF-8 has tables of ASCII', async () => {
  await sitDown({ columns: 120, env: { LC_ALL: 'C' } });
  await person.press('info chardev', keys.enter);
  await person.sees(/\| CHARDEV +\| FILENAME/);
  expect(person.text).toMatch(/^\+-+\+-+\+-+\+$/m);

  expect(person.text).toMatch(/^[\x00-\x7f]*$/);
});

test('the window is made wider and narrower while a long line is typed', async () => {
  await sitDown({ columns: 40 });
  await person.press('info status', keys.enter);
  await person.sees('VM status: running\n(colo)');
  const line = '(colo) info status and so on until the line is wrapped';
  await person.press(line.slice('(colo) '.length));
  for (const columns of [80, 30, 100, 40, 25, 80]) {
    person.resize(columns);
    const shown = () => person.text.slice(person.text.indexOf('running\n') + 'running\n'.length);
    const rows = line.match(new RegExp(`.{1,${columns}}`, 'g'))!.map(row => row.trimEnd());
    const there = rows.map(row => row.replace(/[()]/g, '\\$&')).join('\\n');
    await person.sees(new RegExp(`running\\n${there}$`));
    await person.press('x', keys.backspace);
    await person.sees(rows.at(-1)!, 'typed');
    expect([columns, shown()]).toEqual([columns, rows.join('\n')]);
  }
});

test('the loss of the peer is one plain line and the line to type; checkpoints are not printed', async () => {
  await sitDown({ columns: 100 });
  await person.press('set_link hn0 off', keys.enter);
  const lost = 'COLO: protection was lost: no sign of life from the peer for 5000 ms';
  const todo =
    'If the other side is surely dead or stopped, let this one go on: x_colo_lost_heartbeat';
  await person.sees(`(colo) set_link hn0 off\n${lost}\n${todo}\n(colo)`);
  expect(person.text).not.toMatch(/STOP|RESUME|COLO_EXIT/);
  await person.press('x_colo_lost_heartbeat', keys.enter);
  await person.sees(
    /may still run: no sign of life.*\n.*If this is meant: enter the same line again\.\n\(colo\)/s,
  );
  await person.press('x_colo_lost_heartbeat', keys.enter);
  await person.sees("Error: The feature 'colo' is not enabled");
});
