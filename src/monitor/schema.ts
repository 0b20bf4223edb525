/**
 * A command is declared once. From the declaration derive the types that run() sees, the checks of
 * what a client sent, query-commands and query-qmp-schema, the HMP syntax with its flags, help and
 * completion.
 */
import { VmError } from '../base/errors.js';
import type { Style } from './hmp/style.js';
import type { TextTable } from './hmp/table.js';
import { whyNotOffered } from './not-offered.js';
import type { ArgsOf, Fields, SchemaSink, Type } from '../words/types.js';
import { checkFields, describeFields } from '../words/types.js';
import type { Vm } from '../vm/vm.js';

/** What a running command may use besides the machine. */
export interface CommandContext {
  readonly registry: Registry;
  /**
   * Runs a line of HMP that must not wait for long, gives its output with LF line ends; with a
   * style as a terminal shows it.
   */
  hmp(line: string, style?: Style): Promise<string>;
  /** The user sits at a prompt and can wait for a migration. */
  readonly mayWait: boolean;
}

export interface HmpSide {
  readonly args: Fields;
  run(vm: Vm, args: unknown, context: CommandContext): Promise<string | undefined>;
  /** The same for a terminal, where that is easier to read. */
  table?(vm: Vm, args: unknown, context: CommandContext): Promise<TextTable>;
}

export interface Command {
  /** QMP's spelling, kebab-case. */
  readonly name: string;
  /** `nbd_server_start`, `info status`; undefined: QMP only. */
  readonly hmpName: string | undefined;
  readonly aliases: readonly string[];
  readonly qmp: boolean;
  readonly since: string;
  readonly summary: string;
  /** More for `help NAME`, one line each. */
  readonly notes: readonly string[];
  /** Lines of HMP that work as they are; of a command that only QMP has, its arguments as JSON. */
  readonly examples: readonly string[];
  readonly args: Fields;
  readonly returns: Type | undefined;
  /** May run out of band: it never waits. */
  readonly oob: boolean;
  /** arguments: as the client sent them. */
  runQmp(vm: Vm, args: Record<string, unknown>, context: CommandContext): Promise<unknown>;
  readonly hmp: HmpSide | undefined;
}

interface Common<A extends Fields, R> {
  name: string;
  since: string;
  summary: string;
  notes?: readonly string[];
  /** Not needed where there are no arguments: the name is the example. */
  examples?: readonly string[];
  aliases?: readonly string[];
  oob?: boolean;
  args?: A;
  /**
   * Other members than those of args pass unchecked to run(), which checks them (QAPI's `gen:
   * false`).
   */
  open?: boolean;
  /** What QMP's `return` holds; nothing: `{}`. */
  returns?: Type<R>;
  run: (vm: Vm, args: ArgsOf<A>, context: CommandContext) => R | Promise<R>;
}

interface Declaration<A extends Fields, R> extends Common<A, R> {
  /**
   * both: HMP takes the same arguments in order, and shows the result with show(). query-x becomes
   * `info x`.
   */
  monitors?: 'both' | 'qmp';
  /** Where HMP's name does not follow from QMP's. */
  hmpName?: string;
  /** HMP takes other arguments, or does more. */
  hmp?: HmpSide;
  /** The lines that HMP prints, without the last line end; nothing: silence. */
  show?: (result: R, vm: Vm) => string | undefined;
  /** The same as a table, for a terminal that has room. */
  table?: (result: R, vm: Vm) => TextTable;
}

const hmpSpelling = (name: string) =>
  name.startsWith('query-')
    ? `info ${name.slice(6).replaceAll('-', '_')}`
    : name.replaceAll('-', '_');

/** Declares a command of QMP, and by default of HMP. */
export function command<A extends Fields = Record<never, Type>, R = void>(
  d: Declaration<A, R>,
): Command {
  const args = d.args ?? ({} as A);
  const inHmp = d.monitors !== 'qmp';
  const { table } = d;
  const same: HmpSide = {
    args,
    ...(table && {
      table: async (vm, given, context) => table(await d.run(vm, given as ArgsOf<A>, context), vm),
    }),
    run: async (vm, given, context) => {
      const result = await d.run(vm, given as ArgsOf<A>, context);
      return d.show?.(result, vm);
    },
  };
  return {
    ...identity(d, args),
    hmpName: inHmp ? (d.hmpName ?? hmpSpelling(d.name)) : undefined,
    qmp: true,
    returns: d.returns,
    runQmp: async (vm, given, context) =>
      (await d.run(vm, d.open ? openFields(args, given) : checkFields(args, given), context)) ?? {},
    hmp: inHmp ? (d.hmp ?? same) : undefined,
  };
}

/** Declares a command that only HMP has; run gives the lines to print. */
export function hmpCommand<A extends Fields = Record<never, Type>>(
  d: Common<A, string | undefined> & {
    info?: boolean;
    hmpName?: string;
    table?: (vm: Vm, args: ArgsOf<A>) => TextTable;
  },
): Command {
  const args = d.args ?? ({} as A);
  const { table } = d;
  const notFound = new VmError(`The command ${d.name} has not been found`, {
    class: 'CommandNotFound',
  });
  return {
    ...identity(d, args),
    hmpName: d.hmpName ?? (d.info ? 'info ' : '') + hmpSpelling(d.name),
    qmp: false,
    returns: undefined,
    runQmp: () => Promise.reject(notFound),
    hmp: {
      args,
      run: async (vm, given, context) => d.run(vm, given as ArgsOf<A>, context),
      ...(table && { table: async (vm, given) => table(vm, given as ArgsOf<A>) }),
    },
  };
}

/** The HMP side of a command whose line differs from its QMP arguments. */
export function hmp<A extends Fields>(
  args: A,
  run: (
    vm: Vm,
    args: ArgsOf<A>,
    context: CommandContext,
  ) => Promise<string | undefined> | string | undefined,
): HmpSide {
  return { args, run: async (vm, given, context) => run(vm, given as ArgsOf<A>, context) };
}

function openFields<A extends Fields>(args: A, given: Record<string, unknown>): ArgsOf<A> {
  const declared = Object.fromEntries(
    Object.entries(given).filter(([name]) => Object.hasOwn(args, name)),
  );
  return { ...given, ...checkFields(args, declared) };
}

function identity<A extends Fields, R>(d: Common<A, R>, args: A) {
  return {
    name: d.name,
    since: d.since,
    summary: d.summary,
    notes: d.notes ?? [],
    examples: d.examples ?? [],
    aliases: d.aliases ?? [],
    oob: d.oob ?? false,
    args,
  };
}

/** Commands by the names that they have in both monitors. */
export class Registry {
  private readonly qmpNames = new Map<string, Command>();
  private readonly hmpNames = new Map<string, Command>();

  constructor(readonly commands: readonly Command[]) {
    for (const c of commands) {
      if (c.qmp) this.qmpNames.set(c.name, c);
      if (c.hmpName !== undefined)
        for (const name of [c.hmpName, ...c.aliases]) this.hmpNames.set(name, c);
    }
  }

  qmp(name: string): Command {
    const found = this.qmpNames.get(name);
    if (found) return found;
    throw new VmError(`The command ${name} has not been found`, {
      class: 'CommandNotFound',
      hint: whyNotOffered(name),
    });
  }

  hmp(name: string): Command | undefined {
    return this.hmpNames.get(name);
  }

  get qmpCommands(): string[] {
    return [...this.qmpNames.keys()].sort();
  }

  /** Without aliases. */
  get hmpCommands(): Command[] {
    return this.commands
      .filter(c => c.hmpName !== undefined)
      .sort((a, b) => ((a.hmpName ?? '') < (b.hmpName ?? '') ? -1 : 1));
  }

  /** query-qmp-schema: commands, events, and the types they use. */
  schema(events: Readonly<Record<string, Fields>>): Record<string, unknown>[] {
    const entries = new Map<string, Record<string, unknown>>();
    const sink: SchemaSink = {
      add(name, entry) {
        if (!entries.has(name)) {
          entries.set(name, {});
          entries.set(name, { name, ...entry() });
        }
        return name;
      },
      builtin: (name, json) =>
        sink.add(name, () => ({ 'meta-type': 'builtin', 'json-type': json })),
    };
    const empty = sink.add('q_empty', () => ({ 'meta-type': 'object', members: [] }));
    for (const name of this.qmpCommands) {
      const c = this.qmp(name);
      const arg =
        Object.keys(c.args).length === 0
          ? empty
          : sink.add(`q_obj_${name}-arg`, () => ({
              'meta-type': 'object',
              members: describeFields(c.args, sink),
            }));
      entries.set(name, {
        name,
        'meta-type': 'command',
        'arg-type': arg,
        'ret-type': c.returns?.describe(sink) ?? empty,
        ...(c.oob && { 'allow-oob': true }),
      });
    }
    for (const [name, fields] of Object.entries(events)) {
      const arg =
        Object.keys(fields).length === 0
          ? empty
          : sink.add(`q_obj_${name}-arg`, () => ({
              'meta-type': 'object',
              members: describeFields(fields, sink),
            }));
      entries.set(name, { name, 'meta-type': 'event', 'arg-type': arg });
    }
    return [...entries.values()];
  }
}
