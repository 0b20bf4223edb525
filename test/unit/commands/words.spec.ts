/**
 * Goal: a command that starts without oclif understands its words as oclif would. Method: random
 * words of each such command's own vocabulary, right and wrong ones; what is taken for plain must
 * be what oclif's parser makes of it.
 */
import { Parser } from '@oclif/core';
import { commands } from '../../../src/commands/index.js';
import { Tool } from '../../../src/commands/tool.js';
import { type Declared, plainWords } from '../../../src/commands/words.js';
import { Random } from '../../support/random.js';

const tools = Object.entries(commands).filter(([, command]) => command.prototype instanceof Tool);

function vocabulary({ flags }: Declared): string[] {
  const values = [
    'a.img',
    'qcow2',
    '4k',
    '12',
    '0',
    '99999999',
    '-5',
    '',
    '--',
    '-',
    'leaks',
    'json',
    '--bogus',
    '-Z',
    '-fraw',
    '-pq',
  ];
  const options = Object.entries(flags).flatMap(([name, { char, options: choice }]) => [
    `--${name}`,
    `--${name}=4`,
    ...(char ? [`-${char}`, `-${char}`] : []),
    ...(choice ?? []),
  ]);
  return [...values, 'disk.qcow2', '64', 'raw', ...options, ...options];
}

async function byOclif(words: readonly string[], tool: Declared) {
  try {
    const { flags, args } = await Parser.parse([...words], {
      ...(tool as object),
      context: { argv: words } as never,
    });
    return { flags: { ...flags }, args: { ...args } };
  } catch (error) {
    return (error as Error).message;
  }
}

test('every image command, list and a VM start without oclif', () => {
  expect(tools.map(([name]) => name)).toEqual(
    Object.keys(commands).filter(name => /^(primary|secondary|list|image:.*)$/.test(name)),
  );
});

test('what is plain is what oclif says', async () => {
  const random = new Random(5);
  let plain = 0;
  for (const [name, tool] of tools) {
    const declared = tool as unknown as Declared;
    const words = vocabulary(declared);
    for (let n = 0; n < 400; n++) {
      const line = Array.from({ length: random.below(6) }, () => words[random.below(words.length)]);
      const found = plainWords(line, declared);
      if (!found) continue;
      plain++;
      const oclif = await byOclif(line, declared);
      expect([name, line, found]).toEqual([name, line, oclif]);
    }
  }
  expect(plain).toBeGreaterThan(100);
});

test('the lines that people write are plain', () => {
  const plain = (name: string, line: string) =>
    plainWords(line.split(' '), commands[name] as unknown as Declared);
  expect(
    plain('image:convert', '-p -f raw -O qcow2 -o cluster_size=4k -o compat=1.1 a b'),
  ).toMatchObject({
    args: { source: 'a', target: 'b' },
    flags: {
      progress: true,
      format: 'raw',
      'output-format': 'qcow2',
      options: ['cluster_size=4k', 'compat=1.1'],
      coroutines: 8,
    },
  });
  expect(plain('image:bench', '-c 10 --depth=4 a')).toMatchObject({
    flags: { count: 10, depth: 4 },
    args: { file: 'a' },
  });
  for (const line of [
    '-c 0 a',
    '-c x a',
    '-c',
    'a b',
    '',
    '--count=',
    '-c 1 -c 2 a',
    '--pattern 1 a',
  ])
    expect([line, plain('image:bench', line)]).toEqual([line, undefined]);
});
