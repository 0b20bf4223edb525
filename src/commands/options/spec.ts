/**
 * From the words of the command line to a MachineSpec. Every mistake is a UsageError that begins
 * with the option as it was given.
 */
import { asVmError, VmError } from '../../base/errors.js';
import { KeyValues, parseKeyValues } from '../../words/key-values.js';
import type { CharSpec } from '../../chardev/contract.js';
import { nodeNames } from '../../machine/check-disks.js';
import { type CheckedSpec, checkSpec, usesOf } from '../../machine/check-spec.js';
import type { MachineSpec } from '../../machine/spec.js';
import { syncSides } from '../../migration/manifest.js';
import { isAddress, parseMigrationUri } from '../../migration/uri.js';
import { chardevHelp, readChannel, readChardev } from '../../vm/objects/chardevs.js';
import { netdevHelp } from '../../vm/objects/netdevs.js';
import { objectHelp } from '../../vm/objects/all.js';
import { readObject } from '../../vm/objects/registry.js';
import { parseSize } from '../../words/scalars.js';
import type { GivenOption } from './argv.js';
import { HelpAsked, parseArgv, UsageError } from './argv.js';
import { accelerator, accelHelp } from './accel.js';
import { parseBlockdev } from './blockdev.js';
import { cpuHelp, parseCpu } from './cpu.js';
import { deviceHelp, Ids, parseDrive, parseNetdev } from './device.js';
import {
  checkGlobals,
  deviceWithGlobals,
  type GlobalProperty,
  lastOfEach,
  parseGlobal,
} from './globals.js';
import { withSnapshots } from './snapshot.js';
import {
  bootOrder,
  machineHelp,
  messageTimes,
  parseMachine,
  parseMon,
  tracePatterns,
} from './process.js';
import type { ProcessOptions } from '../vm/process.js';
import { parseSmp } from './smp.js';
import { takeNothing } from '../../words/nothing.js';
import { checkNothing, nothingTable, ofTheName } from './nothing.js';
import type { OptionName } from './table.js';
import { optionTable, refusedOptions } from './table.js';

export type Role = 'primary' | 'secondary';

export interface Launch {
  readonly spec: CheckedSpec;
  /** -name: also an address of its monitor. */
  readonly name: string | undefined;
  /** Trace patterns to print. */
  readonly traces: readonly string[];
  readonly process: ProcessOptions;
  /** `-global migration.NAME=VALUE`: set before the guest runs. */
  readonly migration: readonly GlobalProperty[];
}

const defaultRamBytes = 128 << 20;
const maxSerials = 4;

/**
 * base: options from elsewhere; what argv says of a thing that there is once replaces what they
 * say.
 */
export function parseLaunch(
  role: Role,
  argv: readonly string[],
  base: readonly GivenOption[] = [],
): Launch {
  const draft = new Draft(role);
  const given = parseArgv(argv, optionTable, refusedOptions);
  draft.globals = lastOfEach(
    [...base, ...given]
      .filter(({ name }) => name === 'global')
      .flatMap(option => asUsage(option, () => parseGlobal(option)) ?? []),
  );
  const replaced = new Set(given.filter(({ name }) => !isRepeatable(name)).map(({ name }) => name));
  for (const option of [...base.filter(({ name }) => !replaced.has(name)), ...given]) {
    asUsage(option, () => draft.take(option));
  }
  draft.check();
  const { name, traces, process } = draft;
  return {
    spec: checked(draft.snapshot ? withSnapshots(draft.spec) : draft.spec),
    name,
    traces,
    process,
    migration: draft.globals.filter(({ driver }) => driver === 'migration'),
  };
}

function asUsage<T>(option: GivenOption, take: () => T): T {
  try {
    return take();
  } catch (error) {
    if (error instanceof UsageError || error instanceof HelpAsked) throw error;
    const { message, options } = asVmError(error);
    throw new UsageError(`${option.spelled}: ${message}`, { hint: options.hint, cause: error });
  }
}

/** What this build cannot do is a mistake of usage, before anything is opened. */
function checked(spec: MachineSpec): CheckedSpec {
  try {
    return checkSpec(spec);
  } catch (error) {
    const { message, options } = asVmError(error);
    throw new UsageError(message, { hint: options.hint, cause: error });
  }
}

const isRepeatable = (name: string) =>
  optionTable.some(option => option.name === name && 'repeatable' in option);

const nographic: GivenOption = { name: 'nographic', spelled: '-nographic', value: '' };

/** The others ask for nothing. */
type HandledName = Exclude<OptionName, (typeof nothingTable)[number]['name']>;

class Draft {
  readonly spec: MachineSpec;
  readonly traces: string[] = [];
  name: string | undefined;
  readonly process: { -readonly [K in keyof ProcessOptions]: ProcessOptions[K] } = {
    daemonize: false,
    pidfile: undefined,
    logfile: undefined,
    timestamps: false,
  };
  snapshot = false;
  globals: readonly GlobalProperty[] = [];
  private readonly ids = new Ids();
  /** Who uses standard input. */
  private stdioUser: string | undefined;
  private readonly given = new Set<string>();

  constructor(private readonly role: Role) {
    this.spec = {
      name: role,
      role,
      ramBytes: defaultRamBytes,
      cpus: 1,
      accel: 'auto',
      append: '',
      blockdevs: [],
      drives: [],
      netdevs: [],
      devices: [],
      objects: [],
      chardevs: [],
      serials: [],
      monitors: [],
      startPaused: false,
      noShutdown: false,
      noReboot: false,
    };
  }

  take(option: GivenOption): void {
    this.given.add(option.name);
    const nothing = nothingTable.find(({ name }) => name === option.name);
    if (!nothing) this.handlers[option.name as HandledName](option.value, option);
    else if ('nothing' in nothing) checkNothing(option.value, nothing.nothing);
  }

  private readonly handlers: Readonly<
    Record<HandledName, (value: string, option: GivenOption) => void>
  > = {
    name: value => void (this.name = this.spec.name = guestName(value)),
    uuid: value => void (this.spec.uuid = uuid(value)),
    m: value => void (this.spec.ramBytes = ramBytes(single(value, 'size'))),
    smp: value => void Object.assign(this.spec, parseSmp(value)),
    cpu: value => {
      answerHelp(cpuHelp(value));
      this.spec.cpu = parseCpu(value);
    },
    accel: value => {
      answerHelp(accelHelp(value));
      this.spec.accel = accelerator(value);
    },
    'enable-kvm': () => this.enableKvm(),
    kernel: value => void (this.spec.kernel = value),
    initrd: value => void (this.spec.initrd = value),
    append: value => void (this.spec.append = value),
    blockdev: value => void this.spec.blockdevs.push(parseBlockdev(value)),
    drive: value => this.spec.drives.push(parseDrive(value, this.ids)),
    netdev: value => {
      answerHelp(netdevHelp(value));
      this.spec.netdevs.push(parseNetdev(value, this.ids));
    },
    device: value => {
      answerHelp(deviceHelp(value));
      this.spec.devices.push(deviceWithGlobals(value, this.ids, this.globals));
    },
    global: () => undefined, // taken before all others
    'sync-from': (value, option) => this.syncFrom(value, option),
    config: () => undefined, // and this by the command itself
    chardev: (value, option) => {
      answerHelp(chardevHelp(value));
      const { id, backend } = readChardev(value);
      this.addChardev(id, backend, option);
    },
    object: value => {
      answerHelp(objectHelp(value));
      const { type, id, properties } = readObject(value);
      this.spec.objects.push({ type: type.name, id: this.ids.claim('object', id), properties });
    },
    serial: (value, option) => this.serial(value, option),
    qmp: (value, option) => this.monitor('qmp', value, option),
    monitor: (value, option) => this.monitor('hmp', value, option),
    nographic: () => undefined,
    incoming: value => {
      if (
        value !== 'defer' &&
        !isAddress(parseMigrationUri(value, 'listen')) &&
        this.role === 'secondary'
      ) {
        throw new VmError('a secondary waits for a primary on tcp: or unix:', {
          hint: 'A saved guest is loaded by `colo primary -incoming file:PATH`.',
        });
      }
      this.spec.incoming = value;
    },
    S: () => void (this.spec.startPaused = true),
    'no-reboot': () => void (this.spec.noReboot = true),
    'no-shutdown': () => void (this.spec.noShutdown = true),
    display: value => {
      if (value !== 'none') throw new VmError('colo has no display: only `none` is taken');
    },
    nodefaults: () => undefined,
    boot: value => bootOrder(value),
    machine: value => this.machine(value),
    mon: value => void this.spec.monitors.push(parseMon(value)),
    snapshot: () => void (this.snapshot = true),
    daemonize: () => void (this.process.daemonize = true),
    pidfile: value => void (this.process.pidfile = value),
    msg: value => void (this.process.timestamps = messageTimes(value)),
    D: value => void (this.process.logfile = value),
    trace: value => this.traces.push(...tracePatterns(value)),
  };

  private syncFrom(value: string, option: GivenOption): void {
    if (this.role !== 'primary') throw new VmError('the primary is told whose disks are kept');
    const side = syncSides.find(one => one === value);
    if (!side) throw new VmError(`it is ${syncSides.join(' or ')}, not '${value}'`);
    const { spelled } = option;
    const global = { driver: 'migration', property: 'x-sync-from', value: side, spelled };
    this.globals = [...this.globals, global];
  }

  private enableKvm(): void {
    if (this.spec.accel === 'soft') throw new VmError('-accel soft says otherwise');
    this.spec.accel = 'kvm';
  }

  private machine(value: string): void {
    answerHelp(machineHelp(value));
    const accel = parseMachine(value);
    if (accel !== undefined) this.spec.accel = accelerator(accel);
  }

  private addChardev(id: string, backend: CharSpec, option: GivenOption): void {
    if ((backend.kind === 'mux' ? backend.base : backend).kind === 'stdio') {
      if (this.stdioUser !== undefined)
        throw new VmError(`standard input is taken by ${this.stdioUser}`);
      this.stdioUser = option.spelled;
    }
    this.spec.chardevs.push({ id: this.ids.claim('chardev', id), backend });
  }

  /** `chardev:ID` names one; anything else makes one. undefined: `none`. */
  private channel(
    value: string,
    prefix: string,
    input: 'lines' | 'characters' | 'keys',
    option: GivenOption,
  ): string | undefined {
    if (value === 'none') return undefined;
    if (value.startsWith('chardev:')) return value.slice('chardev:'.length);
    const id = this.ids.fresh(prefix);
    this.addChardev(id, readChannel(value, input), option);
    return id;
  }

  private serial(value: string, option: GivenOption): void {
    if (this.spec.serials.length >= maxSerials)
      throw new VmError(`there are at most ${maxSerials} serial ports`);
    const id = value.startsWith('mon:')
      ? this.withMonitor(value.slice('mon:'.length), option)
      : this.channel(value, 'serial', 'characters', option);
    if (id !== undefined) this.spec.serials.push(id);
  }

  /** `mon:stdio`: a monitor beside the guest's console, Ctrl-A c between them. */
  private withMonitor(value: string, option: GivenOption): string {
    const id = this.ids.fresh('mux');
    this.addChardev(id, { kind: 'mux', base: readChannel(value, 'keys') }, option);
    this.spec.monitors.push({ mode: 'hmp', chardev: id });
    return id;
  }

  /** -nographic: console and monitor on the terminal, as far as neither was put elsewhere. */
  private onTerminal(option: GivenOption): void {
    const beside = this.spec.monitors.length > 0; // -serial mon:stdio has brought one
    const [serial, monitor] = [
      this.given.has('serial'),
      beside || ['monitor', 'qmp', 'mon'].some(name => this.given.has(name)),
    ];
    if (!serial) this.serial(monitor ? 'stdio' : 'mon:stdio', option);
    else if (!monitor) this.monitor('hmp', 'stdio', option);
  }

  private monitor(mode: 'qmp' | 'hmp', value: string, option: GivenOption): void {
    const id = this.channel(
      value,
      mode === 'qmp' ? 'qmp' : 'monitor',
      mode === 'qmp' ? 'lines' : 'keys',
      option,
    );
    if (id !== undefined) this.spec.monitors.push({ mode, chardev: id });
  }

  /** What only the whole can tell. */
  check(): void {
    const { spec } = this;
    if (this.given.has('nographic')) asUsage(nographic, () => this.onTerminal(nographic));
    if (this.role === 'secondary' && spec.incoming === undefined)
      throw new UsageError('a secondary needs -incoming', {
        hint:
          'Example: -incoming tcp:0:8888. A VM that runs at once is started with `colo ' +
          'primary`.',
      });
    if (spec.kernel === undefined && spec.incoming === undefined && !spec.startPaused)
      throw new UsageError('-kernel is missing', {
        hint:
          'colo has no firmware: give it a Linux kernel, and with -initrd and -append what it ' +
          'needs. With -S a machine starts without one: an empty machine to try the monitor on.',
      });
    if (spec.kernel === undefined && (spec.initrd !== undefined || spec.append !== ''))
      throw new UsageError('-initrd and -append need -kernel');
    if (spec.accel === 'soft' && spec.cpus > 1)
      throw new UsageError(`-smp ${spec.cpus}: the software CPU has one vCPU`, {
        hint: 'More need KVM: -accel kvm.',
      });
    if (this.process.daemonize && this.stdioUser !== undefined)
      throw new UsageError(`-daemonize: ${this.stdioUser} needs standard input`, {
        hint: 'Use unix:PATH,server=on,wait=off, or -name NAME with `colo monitor NAME`.',
      });
    if (this.snapshot && spec.blockdevs.length > 0)
      throw new UsageError('-snapshot: it does not reach a -blockdev', {
        hint:
          'Lay an overlay over the node yourself: -blockdev ' +
          'driver=memory,node-name=NAME,backing=NODE.',
      });
    if (this.snapshot && this.role === 'secondary')
      throw new UsageError('-snapshot: a secondary cannot have it', {
        hint: 'What it takes over must be there afterwards.',
      });
    checkGlobals(this.globals, spec);
    this.checkReferences();
  }

  private checkReferences(): void {
    const { spec } = this;
    const known = {
      chardev: new Set(spec.chardevs.map(c => c.id)),
      netdev: new Set(spec.netdevs.map(n => n.id)),
      drive: new Set([...spec.drives, ...nodeNames(spec)].map(d => d.id)),
    };
    const need = (kind: keyof typeof known, id: string, user: string) => {
      if (known[kind].has(id)) return;
      const node = kind === 'drive' ? `, or -blockdev ...,node-name=${id}` : '';
      throw new UsageError(
        `${user}: there is no ${kind}${kind === 'drive' ? ' or node' : ''} '${id}'`,
        { hint: `Add -${kind} ...,id=${id}${node}` },
      );
    };
    for (const id of spec.serials) need('chardev', id, '-serial');
    for (const m of spec.monitors)
      need('chardev', m.chardev, m.mode === 'qmp' ? '-qmp' : '-monitor');
    for (const d of spec.devices) {
      for (const { kind, name } of usesOf(d)) need(kind, name, `-device ${d.model}`);
    }
    const users = [...spec.serials, ...spec.monitors.map(m => m.chardev)];
    const forMany = new Set(spec.chardevs.filter(c => c.backend.kind === 'mux').map(c => c.id));
    const shared = users.find((id, i) => users.indexOf(id) !== i && !forMany.has(id));
    if (shared !== undefined)
      throw new UsageError(`chardev '${shared}' has two users`, {
        hint: 'With mux=on it takes several.',
      });
  }
}

function answerHelp(text: string | undefined): void {
  if (text !== undefined) throw new HelpAsked(text);
}

function guestName(text: string): string {
  const options = new KeyValues(parseKeyValues(text, 'guest'));
  const name = options.need('guest');
  takeNothing(options, ofTheName);
  options.done('guest, debug-threads');
  return name;
}

/** `VALUE` or `key=VALUE`; other keys are refused by name. */
function single(text: string, key: string): string {
  const options = new KeyValues(parseKeyValues(text, key));
  const value = options.need(key);
  options.done(key);
  return value;
}

function uuid(text: string): string {
  if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(text)) throw new VmError('not a UUID');
  return text.toLowerCase();
}

function ramBytes(text: string): number {
  const bytes = parseSize(text, 'M');
  if (bytes === undefined)
    throw new VmError(`'${text}' is not a size`, { hint: 'Examples: 512 (MiB), 2048M, 2G.' });
  return bytes;
}
