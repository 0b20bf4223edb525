/**
 * A pair definition, however mangled or deep, is a definition or a sentence that says where it is
 * not.
 */
import { UsageError } from '../../../src/commands/options/argv.js';
import { parsePair } from '../../../src/commands/pair/read.js';
import type { Random } from '../../support/random.js';
import type { FuzzTarget } from '../target.js';

const good = `name: web
memory: 512M
kernel: vmlinuz
initrd: initrd.img
append: console=ttyS0 root=/dev/vda
checkpoint-delay: 100
peer: {migration: "tcp:10.0.0.2:8888", nbd: "tcp:10.0.0.2:8889"}
disks:
  - id: root
    size: 10G
    primary: web.img
    secondary: web-replica.img
network:
  - {primary: tap-web, secondary: tap-web, mac: 52:54:00:00:00:07}
options: ["-no-reboot"]
tls: {dir: web-tls, kind: psk}
insecure: false
secondary: {monitor: stdio, options: ["-uuid x"]}
`;
const pieces = [
  '[',
  ']',
  '{',
  '}',
  ': ',
  '- ',
  '? ',
  '\n',
  '  ',
  '&a ',
  '*a',
  '!!binary ',
  '!!set',
  '<<: *a',
  '|\n',
  '>-\n',
  '"',
  "'",
  '\\x00',
  '\u0000',
  '---\n',
  '...\n',
  '%YAML 1.1\n',
  '# ',
  '~',
  '.nan',
  '1e999',
  '0x7fffffffffffffff',
  '\t',
  '\ufeff',
];
/** What nests, once for each level. */
const nests = ['[', '{a: ', '- ', '? ', '[{', '{? ', '- - '];

export const pairFileTarget: FuzzTarget = {
  name: 'pair-file',
  summary: 'a pair definition is taken, or refused with its place',
  run(random) {
    const text = random.chance(0.05) ? deep(random) : mangled(random);
    try {
      parsePair(text, 'f');
    } catch (error) {
      if (
        error instanceof UsageError &&
        /^f:\d+:\d+: ./s.test(error.message) &&
        !/call stack/i.test(error.message)
      )
        return;
      throw error;
    }
  },
};

function deep(random: Random): string {
  const levels = Math.floor(10 ** random.between(1, 5));
  const start = random.pick(['', 'disks: ', 'name: ', 'peer:\n  ', '? ']);
  return (
    start +
    random.pick(nests).repeat(levels) +
    random.pick(['', 'x', '\n', ']'.repeat(levels), '}'.repeat(levels)])
  );
}

function mangled(random: Random): string {
  let text = good;
  for (let n = random.below(6); n >= 0; n--) {
    const at = random.below(text.length + 1);
    const cut = random.chance(0.5) ? random.below(20) : 0;
    const piece = random.chance(0.7)
      ? random.pick(pieces)
      : String.fromCodePoint(random.below(0x3000));
    text = text.slice(0, at) + piece + text.slice(at + cut);
  }
  return text;
}
