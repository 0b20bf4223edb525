/**
 * From the words of the command line to a checked spec. Every mistake is a UsageError that begins
 * with the option as it was given.
 */
import { asVmError } from '../../base/errors.js';
import { nodeNames } from '../../machine/check-disks.js';
import { bootsFirmware, type CheckedSpec, checkSpec, usesOf } from '../../machine/check-spec.js';
import type { MachineSpec } from '../../machine/spec.js';
import type { ProcessOptions } from '../vm/process.js';
import { type GivenOption, isRefused, refusedTogether, UsageError } from './argv.js';
import { onTerminal } from './channels.js';
import { addCard } from './display.js';
import type { Draft, GlobalProperty, Role } from './draft.js';
import { checkGlobals } from './globals.js';
import { asUsage, judge, readOptions } from './judge.js';
import { withSnapshots } from './snapshot.js';
import { addUsbController } from './usb.js';

export type { Role };

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

/** The words of one command line, as options; what they mean is not looked at, nor mistakes. */
export const givenOptions = (argv: readonly string[]): GivenOption[] =>
  readOptions(argv).flatMap(read => (isRefused(read) ? [] : read));

/**
 * base: options from elsewhere; what argv says of a thing that there is once replaces what they
 * say. UsageError: all options that cannot be had, or the first thing that is wrong with the whole.
 */
export function parseLaunch(
  role: Role,
  argv: readonly string[],
  base: readonly GivenOption[] = [],
): Launch {
  const { draft, judged } = judge(role, argv, base);
  const refused = judged.filter(isRefused);
  if (refused.length > 0) throw refusedTogether(refused);
  checkWhole(draft);
  const { name, traces, process } = draft;
  return {
    spec: checked(draft.snapshot ? withSnapshots(draft.spec) : draft.spec),
    name,
    traces,
    process,
    migration: draft.globals.filter(({ driver }) => driver === 'migration'),
  };
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

const byVnc: GivenOption = { name: 'vnc', spelled: '-vnc', value: '' };
const byVga: GivenOption = { name: 'vga', spelled: '-vga', value: '' };
const byNographic: GivenOption = { name: 'nographic', spelled: '-nographic', value: '' };

/** What only the whole can tell. */
function checkWhole(draft: Draft): void {
  const { spec } = draft;
  if (draft.given.has('json') && !draft.given.has('explain'))
    throw new UsageError('--json: it goes with --explain');
  asUsage(draft.given.has('vnc') ? byVnc : byVga, () => addCard(draft));
  addUsbController(draft);
  if (draft.given.has('nographic')) asUsage(byNographic, () => onTerminal(draft, byNographic));
  if (draft.role === 'secondary' && spec.incoming === undefined)
    throw new UsageError('a secondary needs -incoming', {
      hint:
        'Example: -incoming tcp:0:8888. A VM that runs at once is started with `colo ' +
        'primary`.',
    });
  const boots = spec.kernel !== undefined || bootsFirmware(spec);
  if (!boots && spec.incoming === undefined && !spec.startPaused)
    throw new UsageError('-kernel is missing, and there is no disk that firmware could boot', {
      hint:
        'Give it a disk with -drive, or a Linux kernel, and with -initrd and -append what that ' +
        'needs. With -S a machine starts without: an empty machine to try the monitor on.',
    });
  if (spec.kernel === undefined && (spec.initrd !== undefined || spec.append !== ''))
    throw new UsageError('-initrd and -append need -kernel');
  if (draft.process.daemonize && draft.stdioUser !== undefined)
    throw new UsageError(`-daemonize: ${draft.stdioUser} needs standard input`, {
      hint: 'Use unix:PATH,server=on,wait=off, or -name NAME with `colo monitor NAME`.',
    });
  if (draft.snapshot && spec.blockdevs.length > 0)
    throw new UsageError('-snapshot: it does not reach a -blockdev', {
      hint:
        'Lay an overlay over the node yourself: -blockdev ' +
        'driver=memory,node-name=NAME,backing=NODE.',
    });
  if (draft.snapshot && draft.role === 'secondary')
    throw new UsageError('-snapshot: a secondary cannot have it', {
      hint: 'What it takes over must be there afterwards.',
    });
  checkGlobals(draft.globals, spec);
  checkReferences(spec);
}

function checkReferences(spec: MachineSpec): void {
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
  for (const m of spec.monitors) need('chardev', m.chardev, m.mode === 'qmp' ? '-qmp' : '-monitor');
  for (const d of spec.devices) {
    for (const { kind, name } of usesOf(d)) need(kind, name, `-device ${d.model}`);
  }
  const chardevsOf = spec.devices
    .flatMap(usesOf)
    .flatMap(({ kind, name }) => (kind === 'chardev' ? name : []));
  const users = [...spec.serials, ...spec.monitors.map(m => m.chardev), ...chardevsOf];
  const forMany = new Set(spec.chardevs.filter(c => c.backend.kind === 'mux').map(c => c.id));
  const shared = users.find((id, i) => users.indexOf(id) !== i && !forMany.has(id));
  if (shared !== undefined)
    throw new UsageError(`chardev '${shared}' has two users`, {
      hint: 'With mux=on it takes several.',
    });
}
