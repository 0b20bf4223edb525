/**
 * Goal: `-nographic` with a guest that prints: its console, the monitor by Ctrl-A c, the end by
 * Ctrl-A x; a terminal given back. Method: the real process and CPU on a real pseudo-terminal
 * (skipped by name where the addon is not built); the kernel is a loop that writes to COM1.
 */
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { fakeKernel } from '../../support/fake-kernel.js';
import { keys, Person, temporaryHome } from '../../support/person.js';

const root = new URL('../../../', import.meta.url);
const dev = fileURLToPath(new URL('bin/dev.js', root));
const withAddon = existsSync(new URL('native/build/Release/colo.node', root)) ? test : test.skip;
const dir = mkdtempSync(join(tmpdir(), 'colo-nographic-'));
const home = temporaryHome();
let person: Person | undefined;
afterEach(() => person?.kill());
afterAll(() => {
  rmSync(dir, { recursive: true });
  home.remove();
});

/**
 * mov dx,0x3f8; again: mov al,'g'; out dx,al; mov al,10; out dx,al; mov ecx,4000000; loop $; jmp
 * again
 */
const printing = [
  0x66, 0xba, 0xf8, 0x03, 0xb0, 0x67, 0xee, 0xb0, 0x0a, 0xee, 0xb9, 0x00, 0x09, 0x3d, 0x00, 0xe2,
  0xfe, 0xeb, 0xf1,
];

function printingKernel(): string {
  const image = fakeKernel();
  Buffer.from(printing).copy(image, 1024 + 0x200);
  const path = join(dir, 'kernel');
  writeFileSync(path, image);
  return path;
}

withAddon('console, monitor, and back (skipped where the addon is not built)', async () => {
  person = new Person(
    [dev, 'primary', '-nographic', '-m', '32', '-accel', 'soft', '-kernel', printingKernel()],
    { env: home.env },
  );
  await person.sees(/g\n *g/);
  await person.press(keys.ctrlA, 'c');
  await person.sees('(colo) ', 'typed');
  await person.press('info st');
  const before = person.text.length;
  while (person.text.length < before + 10) await new Promise(resolve => setTimeout(resolve, 20));
  await person.sees('(colo) info st', 'typed');
  await person.press('atus', keys.enter);
  await person.sees('VM status: running');
  await person.press('stop', keys.enter);
  await person.sees('[STOP]');
  await person.press(keys.ctrlA, 'x');
  expect(await person.exited).toBe(0);
  expect(person.raw.lastIndexOf('\x1b[?2004l')).toBeGreaterThan(
    person.raw.lastIndexOf('\x1b[?2004h'),
  );
});

withAddon(
  'an empty machine to try the monitor on (skipped where the addon is not built)',
  async () => {
    person = new Person([dev, 'primary', '-S', '-monitor', 'stdio', '-m', '16', '-accel', 'soft'], {
      env: home.env,
    });
    await person.sees('(colo) ', 'typed');
    await person.press('info status', keys.enter, 'cont', keys.enter);
    await person.sees('VM status: paused (prelaunch)');
    await person.sees('Error: there is nothing to run: this VM was started without -kernel');
    await person.press('quit', keys.enter);
    expect(await person.exited).toBe(0);
  },
);
