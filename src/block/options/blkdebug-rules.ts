/** `inject-error.N.*` and `set-state.N.*` of the driver `blkdebug`, in QEMU's words. */
import { VmError } from '../../base/errors.js';
import { type DebugEvent, debugEvents } from '../contract/debug-event.js';
import type { IoCode } from '../contract/io-error.js';
import type { OptionTree } from './option-tree.js';

export const ioTypes = ['read', 'write', 'write-zeroes', 'discard', 'flush'] as const;
export type IoType = (typeof ioTypes)[number];

interface Rule {
  event: DebugEvent;
  /** Only in this state; 0: in any. */
  state: number;
}
export interface InjectError extends Rule {
  code: IoCode;
  /** undefined: every type. */
  iotype?: IoType;
  /** Only requests that touch it. */
  sector?: number;
  once: boolean;
  /** Without a turn of the main loop before the request fails. */
  immediately: boolean;
}
export interface SetState extends Rule {
  newState: number;
}
export interface BlkdebugRules {
  injectError: InjectError[];
  setState: SetState[];
}

const errnos: Readonly<Record<number, IoCode>> = {
  1: 'EPERM',
  5: 'EIO',
  12: 'ENOMEM',
  22: 'EINVAL',
  28: 'ENOSPC',
  95: 'ENOTSUP',
  108: 'ESHUTDOWN',
};
const EIO = 5;
const MAX_STATE = 2 ** 31 - 1;

export function readBlkdebugRules(options: OptionTree): BlkdebugRules {
  return {
    injectError: each(options, 'inject-error', readInjectError),
    setState: each(options, 'set-state', readSetState),
  };
}

function each<T>(options: OptionTree, key: string, read: (tree: OptionTree) => T): T[] {
  return options.numbered(key).map(({ value }) => {
    if (typeof value === 'string')
      throw new VmError(
        `parameter '${options.full(key)}' takes a group of options, such as ${key}.0.event=...`,
      );
    const rule = read(value);
    value.end(" to driver 'blkdebug'");
    return rule;
  });
}

const readRule = (tree: OptionTree): Rule => {
  const event = tree.oneOf('event', debugEvents);
  if (event === undefined) throw new VmError(`parameter '${tree.full('event')}' is missing`);
  return { event, state: tree.integer('state', 0, MAX_STATE) ?? 0 };
};

function readInjectError(tree: OptionTree): InjectError {
  const rule = readRule(tree);
  const errno = tree.integer('errno', 1, 4095) ?? EIO;
  const code = errnos[errno];
  if (code === undefined)
    throw new VmError(
      `parameter '${tree.full('errno')}' takes one of ${Object.entries(errnos)
        .map(([n, name]) => `${n} (${name})`)
        .join(', ')}; not ${errno}`,
    );
  const iotype = tree.oneOf('iotype', ioTypes);
  return {
    ...rule,
    code,
    iotype,
    sector: tree.integer('sector', 0, 2 ** 44),
    once: tree.flag('once') ?? false,
    immediately: tree.flag('immediately') ?? false,
  };
}

function readSetState(tree: OptionTree): SetState {
  const rule = readRule(tree);
  const newState = tree.integer('new_state', 1, MAX_STATE);
  if (newState === undefined) throw new VmError(`parameter '${tree.full('new_state')}' is missing`);
  return { ...rule, newState };
}
