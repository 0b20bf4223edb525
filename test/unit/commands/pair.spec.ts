/**
 * Goal: a pair definition says what it seems to say, or where it does not. Method: every kind of
 * mistake with its position; the options that both sides get; every key of the schema changes
 * something; what `colo init` writes is read back.
 */
import { parse } from 'yaml';
import { parseLaunch, type Role } from '../../../src/commands/options/spec.js';
import { answerNames } from '../../../src/commands/pair/answers.js';
import type { PairFields } from '../../../src/commands/pair/fields.js';
import { optionsOf } from '../../../src/commands/pair/options.js';
import {
  type InitAnswers,
  checkAnswer,
  questions,
  valuesOf,
} from '../../../src/commands/pair/questions.js';
import { parsePair } from '../../../src/commands/pair/read.js';
import { definitionFor, type Side, sideNamed } from '../../../src/commands/pair/side.js';
import { pairFields } from '../../../src/commands/pair/schema.js';
import { writePair } from '../../../src/commands/pair/write.js';
import { UsageError } from '../../../src/commands/options/argv.js';

const web = `name: web
memory: 64M
kernel: vmlinuz
peer:
  migration: tcp:10.0.0.2:8888
  nbd: tcp:10.0.0.2:8889
disks:
  - primary: p,1.img
    secondary: /srv/s.img
network:
  - {primary: tap-p, secondary: tap-s, mac: '52:54:00:00:00:01'}
`;

function words(role: Role, source = web): string[] {
  return optionsOf({ path: '/etc/colo/web.yaml', pair: parsePair(source, 'web.yaml') }, role).map(
    option => option.spelled,
  );
}

test('the options of the primary', () => {
  expect(words('primary')).toEqual([
    '-name web-primary',
    '-m 64M',
    '-kernel /etc/colo/vmlinuz',
    '-drive ' +
      'if=virtio,id=disk0,driver=quorum,read-pattern=fifo,vote-threshold=1,' +
      'children.0.driver=raw,children.0.file.filename=/etc/colo/p,,1.img',
    '-netdev tap,id=net0,ifname=tap-p,script=no,downscript=no',
    '-device virtio-net-pci,id=net0-card,netdev=net0,mac=52:54:00:00:00:01',
    '-global migration.x-checkpoint-delay=100',
  ]);
});

test('a word means what it means on the command line', () => {
  const given = (lines: string) => parsePair(`${web}${lines}`.replace('memory: 64M\n', ''), 'f');
  expect(given('memory: 0.5G\ncpus: 0x2\naccel: kvm\n')).toMatchObject({
    memory: 512 * 2 ** 20,
    cpus: 2,
    accel: 'kvm',
  });
});

test('the options of the secondary, with overlays in memory or in files', () => {
  const wanted = [
    '-name web-secondary',
    '-m 64M',
    '-kernel /etc/colo/vmlinuz',
    '-drive if=none,id=disk0,driver=raw,file.filename=/srv/s.img',
    '-drive ' +
      'if=virtio,id=disk0-active,driver=quorum,read-pattern=fifo,vote-threshold=1,' +
      'children.0.driver=replication,children.0.mode=secondary,children.0.file=disk0',
    '-netdev tap,id=net0,ifname=tap-s,script=no,downscript=no',
    '-device virtio-net-pci,id=net0-card,netdev=net0,mac=52:54:00:00:00:01',
    '-incoming tcp:10.0.0.2:8888',
    '-global migration.x-checkpoint-delay=100',
  ];
  expect(words('secondary')).toEqual(wanted);
  const files = web.replace(
    '    secondary: /srv/s.img\n',
    '    secondary: /srv/s.img\n    active: a\n    hidden: /h\n',
  );
  expect(words('secondary', files)[4]).toBe(
    '-drive ' +
      'if=virtio,id=disk0-active,driver=quorum,read-pattern=fifo,vote-threshold=1,' +
      'children.0.driver=replication,children.0.mode=secondary,' +
      'children.0.file.driver=qcow2,children.0.file.file.filename=/etc/colo/a,' +
      'children.0.file.backing.driver=qcow2,children.0.file.backing.file.filename=/h,' +
      'children.0.file.backing.backing=disk0',
  );
});

test('the roles the other way round: the sides keep what is theirs', () => {
  const back = 'back: {migration: tcp:10.0.0.1:7777, nbd: tcp:10.0.0.1:7778}\n';
  const own = 'primary: {accel: soft}\nsecondary: {name: web-b, options: [-no-reboot]}\n';
  const file = { path: '/etc/colo/web.yaml', pair: parsePair(web + back + own, 'web.yaml') };
  const spelled = (role: Role, side: Side) =>
    optionsOf(definitionFor(file, role, side), role).map(option => option.spelled);
  expect(spelled('secondary', 'a')).toEqual(
    expect.arrayContaining([
      '-name web-primary',
      '-accel soft',
      '-drive if=none,id=disk0,driver=raw,file.filename=/etc/colo/p,,1.img',
      '-netdev tap,id=net0,ifname=tap-p,script=no,downscript=no',
      '-incoming tcp:10.0.0.1:7777',
    ]),
  );
  expect(spelled('primary', 'b')).toEqual(
    expect.arrayContaining([
      '-name web-b',
      '-netdev tap,id=net0,ifname=tap-s,script=no,downscript=no',
      '-no-reboot',
    ]),
  );
  expect(definitionFor(file, 'primary', 'b').pair.peer.nbd).toBe('tcp:10.0.0.1:7778');
  expect(spelled('primary', 'a')).toEqual(optionsOf(file, 'primary').map(option => option.spelled));
  expect(['web-b', 'web-primary', 'other'].map(name => sideNamed(file.pair, name))).toEqual([
    'b',
    'a',
    undefined,
  ]);
});

test.each<[string, string]>([
  ['nam: web', "web.yaml:1:1: there is no key 'nam' here. Did you mean 'name'?"],
  [web.replace('memory: 64M', 'memory: lots'), "web.yaml:2:9: memory: 'lots' is not a size"],
  [web.replace('memory: 64M\n', ''), "web.yaml:1:1: 'memory' is missing"],
  [
    web.replace('memory: 64M', 'memory:'),
    'web.yaml:2:8: memory: a size is wanted here, this is nothing',
  ],
  [
    web.replace('memory: 64M', 'memory: {a: 1}'),
    'web.yaml:2:9: memory: a size is wanted here, this is a group of keys',
  ],
  [web.replace('memory: 64M', 'memory: 64M\nmemory: 1G'), 'web.yaml:3:1: Map keys must be unique'],
  [
    web.replace('tcp:10.0.0.2:8888', 'tcp:0:8888'),
    "web.yaml:5:14: peer.migration: 'tcp:0:8888' names no host to connect to",
  ],
  [
    web.replace('memory: 64M', 'memory: 64M\nheartbeat-interval: 400'),
    'web.yaml:3:21: heartbeat-interval: x-heartbeat-timeout 1000: it is at least 3 intervals, ' +
      '1200 ms',
  ],
  [
    web.replace('memory: 64M', 'memory: 64M\nheartbeat-timeout: 299'),
    'web.yaml:3:20: heartbeat-timeout: x-heartbeat-timeout 299: it is at least 3 intervals, 300 ms',
  ],
  [
    web.replace('memory: 64M', 'memory: 64M\nheartbeat-interval: 501\nheartbeat-timeout: 9000'),
    'web.yaml:4:20: heartbeat-timeout: x-heartbeat-interval 501: it is at most 500 ms',
  ],
  [
    web.replace(':8889', ':8888'),
    'web.yaml:6:8: peer.nbd: this is the address of `migration` too: each needs one of its own',
  ],
  [
    web.replace('  nbd: tcp:10.0.0.2:8889\n', ''),
    "web.yaml:5:3: peer: 'nbd' is missing: the disks are replicated through it",
  ],
  [
    web.replace('  - primary: p', '  - primry: p'),
    "web.yaml:8:5: disks[0]: there is no key 'primry' here. Did you mean 'primary'?",
  ],
  [
    web.replace('    secondary: /srv/s.img\n', ''),
    "web.yaml:8:5: disks[0]: 'secondary' is missing",
  ],
  [
    web.replace('    secondary: /srv/s.img\n', '    secondary: s\n    active: a\n'),
    "web.yaml:8:5: disks[0]: 'active' and 'hidden' belong together: both are files, or both " +
      'are in memory',
  ],
  [
    `${web}  - {primary: a, secondary: b, id: net0}\n`,
    "web.yaml:12:5: network[1]: there are two network cards with id 'net0'",
  ],
  [
    web.replace('disks:\n  - primary: p,1.img\n    secondary: /srv/s.img\n', 'disks: p.img\n'),
    'web.yaml:7:8: disks: a list of groups is wanted here',
  ],
  [
    web.replace('tap-p', 'much-too-long-name'),
    "web.yaml:11:15: network[0].primary: 'much-too-long-name' is not the name of an " +
      'interface, of at most 15 characters',
  ],
  [
    `${web}accel: sof\n`,
    "web.yaml:12:8: accel: 'sof' is not auto or soft or kvm. Did you mean 'soft'?",
  ],
  [web.replace('64M', '*x'), 'web.yaml:2:9: memory: a size is wanted here, this is an alias'],
  [web.replace('network:', 'network: ['), 'web.yaml:'],
  ['', 'web.yaml:1:1: a group of keys is wanted here'],
  ['- a\n', 'web.yaml:1:1: a group of keys is wanted here'],
])('mistake %#', (source, message) => {
  const read = () => parsePair(source, 'web.yaml');
  expect(read).toThrow(UsageError);
  expect(read).toThrow(message);
});

test('further options are looked at too, and told apart', () => {
  expect(() => words('primary', `${web}options: ["-fw_cfg name=x"]\n`)).toThrow(
    '/etc/colo/web.yaml: options[0]: -fw_cfg name=x: colo does not have this option',
  );
  expect(
    words('secondary', `${web}secondary: {options: [-S, '-append a  b']}\n`).slice(-2),
  ).toEqual(['-S', '-append a  b']);
});

test('the command line replaces what there is once, and adds the rest', () => {
  const base = optionsOf(
    { path: 'web.yaml', pair: parsePair(`${web}accel: soft\n`, 'web.yaml') },
    'secondary',
  );
  const { spec, migration } = parseLaunch(
    'secondary',
    ['-m', '128', '-device', 'isa-debug-exit', '-global', 'migration.x-checkpoint-delay=50'],
    base,
  );
  expect([spec.ramBytes, spec.accel, spec.devices.map(d => d.model)]).toEqual([
    128 << 20,
    'soft',
    ['virtio-net-pci', 'isa-debug-exit'],
  ]);
  expect(migration.map(({ property, value }) => [property, value])).toEqual([
    ['x-checkpoint-delay', '50'],
  ]);
});

/** Every key, by its way through the groups and lists. */
function* keys(
  fields: PairFields,
  way: readonly string[] = [],
): Generator<{ way: readonly string[]; example: string }> {
  for (const [key, { kind, example }] of Object.entries(fields)) {
    yield { way: [...way, key], example };
    if (kind.inner) yield* keys(kind.inner, [...way, key]);
  }
}

/**
 * Not options: whether it may go without TLS; where the primary reaches the secondary, and how long
 * it tries; the addresses of the roles the other way round; what is made if it is missing.
 */
const elsewhere = new Set([
  'peer',
  'peer.nbd',
  'peer.wait',
  'back',
  'back.migration',
  'back.nbd',
  'disks.size',
  'insecure',
]);

test.each(
  [...keys(pairFields)]
    .map(({ way, example }) => [way.join('.'), example])
    .filter(([name]) => !elsewhere.has(name)),
)('%s has an effect: %s', (name, example) => {
  const way = name.split('.');
  const definition = parse(
    web
      .replace('name: web', 'name: other')
      .replace('vmlinuz', 'other')
      .replace('64M', '65M')
      .replace('10.0.0.2:8888', '10.0.0.2:9'),
  ) as Record<string, unknown>;
  const both = () =>
    [
      ...words('primary', JSON.stringify(definition)),
      ...words('secondary', JSON.stringify(definition)),
    ].join('\n');
  let at: Record<string, unknown> = definition;
  for (const step of way.slice(0, -1)) {
    const next = (at[step] ??= {});
    at = (Array.isArray(next) ? next[0] : next) as Record<string, unknown>;
  }
  const last = way.at(-1) ?? '';
  if (way.length > 1 && way[0] === 'tls') at['dir'] = 'mine';
  if (last === 'active' || last === 'hidden') Object.assign(at, { active: 'a', hidden: 'h' });
  const before = both();
  at[last] = parse(example) as unknown;
  expect(both()).not.toBe(before);
});

test.each([
  [
    '['.repeat(8000) + ']'.repeat(8000),
    /^f:1:1: nested too deeply for a pair definition: 8000 open brackets$/,
  ],
  ['name: web\n' + '- '.repeat(60), /^f:2:1: nested too deeply .*: 60 levels in one line$/],
  [`${' '.repeat(51)}x`, /^f:1:1: nested too deeply .*: 51 columns of indentation$/],
])('a text that nests without end is refused before it is parsed', (source, message) => {
  expect(() => parsePair(source, 'f')).toThrow(message);
});

test('what init writes is what was answered, and shows every key', () => {
  const answers: InitAnswers = Object.fromEntries(
    answerNames.map(name => [
      name,
      {
        kernel: '/boot/vmlinuz',
        disk: 'web.img',
        size: '10G',
        tap: 'tap0',
        replica: 'r.img',
        'replica-tap': 'tap1',
      }[name as string] ?? questions[name].usual({}),
    ]),
  );
  const text = writePair(valuesOf(answers));
  expect(parsePair(text, 'x')).toMatchObject({
    name: 'vm',
    memory: 512 << 20,
    kernel: '/boot/vmlinuz',
    append: 'console=ttyS0',
    peer: { migration: 'tcp:127.0.0.1:8888', nbd: 'tcp:127.0.0.1:8889' },
    disks: [{ primary: 'web.img', secondary: 'r.img', size: 10 * 2 ** 30 }],
    network: [{ primary: 'tap0', secondary: 'tap1' }],
  });
  const uncommented = text
    .replace(/^( *)# ([a-z-]+: )/gm, '$1$2')
    .split('\n')
    .filter(line => !/^ *#/.test(line))
    .join('\n');
  expect(() => parsePair(uncommented, 'x')).not.toThrow();
  for (const { way } of keys(pairFields))
    if (way[0] !== 'primary' && way[0] !== 'secondary')
      expect(text).toMatch(new RegExp(`(^|[ #{-])${way.at(-1)}:`, 'm'));
});

test('answers are checked as the file would be', () => {
  expect(checkAnswer('memory', '1G')).toBe(true);
  expect(checkAnswer('memory', 'x')).toBe("'x' is not a size. Examples: 512 (MiB), 2048M, 2G.");
  expect(checkAnswer('kernel', '')).not.toBe(true);
  expect(checkAnswer('disk', '')).toBe(true);
  expect(questions.replica.usual({ peer: '10.0.0.2', disk: 'a.img' })).toBe('a.img');
  expect(questions.replica.usual({ peer: '127.0.0.1', disk: 'a.img' })).toBe('a-replica.img');
});

test.each(['[', '{a: ', '- '])(
  'a definition of nothing but %j, fifty thousand deep, is refused with a sentence',
  piece => {
    expect(() => parsePair(piece.repeat(50_000), 'deep.yaml')).toThrow(UsageError);
  },
);
