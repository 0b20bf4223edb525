/**
 * Goal: the two command lines and the orders of the mail of 2015 do what it says, either side lost.
 * Method: `npm run procedure` itself, with a disk that GRUB boots. Skipped by name where a network
 * namespace cannot be made, or Debian's GRUB or SeaBIOS are not there.
 */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));
const wanted = ['/usr/lib/grub/i386-pc/boot.img', '/usr/share/seabios/bios-256k.bin'];
const possible =
  process.getuid?.() === 0 &&
  spawnSync('unshare', ['-n', '-m', 'true']).status === 0 &&
  wanted.every(path => existsSync(path));

const procedure = (...args: string[]) =>
  spawnSync(process.execPath, ['--import', 'tsx', 'test/procedure/main.ts', ...args], {
    cwd: root,
    encoding: 'utf8',
    timeout: 580_000,
  });

(possible ? test : test.skip)(
  'the procedure of the mail, word for word: either side is lost',
  () => {
    const { stdout, stderr, status } = procedure();
    expect([stderr, status]).toEqual([expect.not.stringContaining('procedure:'), 0]);
    for (const lost of ['primary', 'secondary'])
      expect(stdout).toContain(`the ${lost} is lost; the same connection goes on after`);
    expect(stdout.match(/nothing was lost/g)).toHaveLength(2);
  },
  600_000,
);

test('another side than these two is refused', () => {
  const { stderr, status } = procedure('--lost', 'both');
  expect([stderr, status]).toEqual(['procedure: --lost both: primary or secondary\n', 2]);
});
