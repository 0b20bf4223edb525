/** Looking into the guest: x (virtual), xp (physical), print. */
import { VmError } from '../../base/errors.js';
import { evaluate } from '../hmp/expression.js';
import { hmpCommand } from '../schema.js';
import { format, optional, rest } from '../../words/types.js';
import type { MachineControl } from '../../machine/contract.js';
import { look, physicalMemory } from '../../vm/inspect.js';

const letters = ['o', 'x', 'd', 'u', 'c'] as const;
const sizes: Readonly<Record<string, number>> = { b: 1, h: 2, w: 4, g: 8 };
/**
 * One command prints at most so much: the monitor shares the main loop with the guest's devices.
 */
const MAX_COUNT = 4096;

interface Format {
  readonly count: number;
  readonly letter: (typeof letters)[number];
  readonly size: number;
}

const FORMAT_HELP = 'count, one of o x d u c, size b h w g (1, 2, 4, 8 bytes): /4xg';
const EXPRESSION_HELP = 'C arithmetic with $rip, $rax ... of CPU 0';

export const memoryCommands = [
  hmpCommand({
    name: 'x',
    since: '0.1',
    summary: 'virtual memory dump starting at address',
    examples: ['x/8xg $rsp'],
    args: { format: optional(format(FORMAT_HELP)), address: rest(EXPRESSION_HELP) },
    run: async (vm, given) => {
      const wanted = readFormat(given.format);
      return look(vm.machine, guest =>
        dump(
          wanted,
          evaluate(given.address, name => guest.register(name)),
          (at, length) => guest.virtualMemory(at, length),
        ),
      );
    },
  }),
  hmpCommand({
    name: 'xp',
    since: '0.1',
    summary: 'physical memory dump starting at address',
    examples: ['xp/16xb 0x7c00'],
    args: { format: optional(format(FORMAT_HELP)), address: rest(EXPRESSION_HELP) },
    run: async ({ machine }, given) => {
      const wanted = readFormat(given.format);
      return dump(wanted, await value(machine, given.address), (at, length) =>
        physicalMemory(machine, at, length),
      );
    },
  }),
  hmpCommand({
    name: 'print',
    since: '0.1',
    aliases: ['p'],
    summary: 'print expression value (use $reg for CPU register access)',
    examples: ['print/x $rip + 0x10'],
    args: { format: optional(format('one of o x d u c')), expression: rest(EXPRESSION_HELP) },
    run: async (vm, given) => {
      const { letter } = readFormat(given.format);
      return plain(await value(vm.machine, given.expression), letter);
    },
  }),
];

/** The guest stands still only for those who ask for a register. */
const value = async (machine: MachineControl, text: string) =>
  text.includes('$')
    ? look(machine, guest => evaluate(text, name => guest.register(name)))
    : evaluate(text, () => undefined);

function readFormat(text: string | undefined): Format {
  const match = /^([0-9]{0,6})([a-z]*)$/.exec(text ?? '');
  if (!match)
    throw new VmError(`invalid format '/${text}'`, { hint: `A format is ${FORMAT_HELP}.` });
  const count = match[1] === '' ? 1 : Number(match[1]);
  if (count > MAX_COUNT) throw new VmError(`a count is at most ${MAX_COUNT}`);
  let letter: Format['letter'] = 'x';
  let size = 4;
  for (const c of match[2]) {
    const known = letters.find(l => l === c);
    if (known) letter = known;
    else if (Object.hasOwn(sizes, c)) size = sizes[c];
    else
      throw new VmError(`invalid char '${c}' in format`, {
        hint: c === 'i' ? 'There is no disassembler.' : `A format is ${FORMAT_HELP}.`,
      });
  }
  // Characters are bytes, however many words of them were asked for.
  return letter === 'c'
    ? { count: count * (/[bhwg]/.test(match[2]) ? size : 1), letter, size: 1 }
    : { count, letter, size };
}

function dump(
  { count, letter, size }: Format,
  address: bigint,
  read: (at: bigint, length: number) => Buffer | undefined,
): string {
  const lines: string[] = [];
  const perLine = size === 1 ? 8 : 16 / size;
  for (let done = 0; done < count; done += perLine) {
    const n = Math.min(perLine, count - done);
    const at = BigInt.asUintN(64, address + BigInt(done * size));
    const bytes = read(at, n * size);
    if (!bytes)
      throw new VmError([...lines, `Cannot access memory at 0x${at.toString(16)}`].join('\n'));
    const words = Array.from({ length: n }, (_, i) =>
      word(unsigned(bytes, i * size, size), letter, size),
    );
    lines.push(`${at.toString(16).padStart(16, '0')}:${words.map(w => ` ${w}`).join('')}`);
  }
  return lines.join('\n');
}

function unsigned(bytes: Buffer, at: number, size: number): bigint {
  return size === 8 ? bytes.readBigUInt64LE(at) : BigInt(bytes.readUIntLE(at, size));
}

/** One of a row, as wide as its widest neighbour could be. */
function word(value: bigint, letter: Format['letter'], size: number): string {
  const bits = size * 8;
  switch (letter) {
    case 'x':
      return `0x${value.toString(16).padStart(bits / 4, '0')}`;
    case 'o':
      return plain(value, letter).padStart(Math.ceil(bits / 3));
    case 'd':
      return BigInt.asIntN(bits, value)
        .toString()
        .padStart(Math.ceil((bits * 10) / 33));
    case 'u':
      return value.toString().padStart(Math.ceil((bits * 10) / 33));
    case 'c':
      return plain(value, letter);
  }
}

/** As C's %#x, %#o, %d, %u write a 64-bit number. */
function plain(value: bigint, letter: Format['letter']): string {
  switch (letter) {
    case 'x':
      return value === 0n ? '0' : `0x${value.toString(16)}`;
    case 'o':
      return value === 0n ? '0' : `0${value.toString(8)}`;
    case 'd':
      return BigInt.asIntN(64, value).toString();
    case 'u':
      return value.toString();
    case 'c':
      return value >= 0x20n && value < 0x7fn
        ? `'${String.fromCharCode(Number(value))}'`
        : `'\\x${(value & 0xffn).toString(16).padStart(2, '0')}'`;
  }
}
