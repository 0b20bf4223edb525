/** The parameters of migration and COLO, each declared once. */
import { VmError } from '../base/errors.js';
import { HEARTBEAT_INTERVAL_MAX_MS } from '../colo/options.js';
import { didYouMean } from '../base/similar.js';
import { syncSides } from '../migration/manifest.js';
import type { Vm } from '../vm/vm.js';
import { parseSize } from '../words/scalars.js';
import { bool, type Fields, int, oneOf, optional, str, type Type } from '../words/types.js';

type Value = number | boolean | string;
type Values = Readonly<Record<string, unknown>>;

interface Parameter<T extends Value = Value> {
  readonly type: Type<T>;
  /** For people. */
  readonly unit?: string;
  /** How a line of HMP says it, where that is not a whole number. */
  readonly form?: { readonly words: string; read(word: string): Value | undefined };
  get(vm: Vm): T;
  /** Takes effect on a running migration or COLO at once. Missing: setParameters does it. */
  set?(vm: Vm, value: T): void;
}

const parameter = <T extends Value>(type: Type<T, false>, rest: Omit<Parameter<T>, 'type'>) =>
  ({ type: optional(type), ...rest }) as unknown as Parameter;

const uint32 = { min: 0, max: 0xffff_ffff };
const onOffType = bool('STOP and RESUME are sent for each COLO checkpoint');
const sideType = oneOf(
  ['none', ...syncSides],
  'whose disks are kept, the next time that COLO begins, where they differ and no record ' +
    'says which are newer',
  { name: 'SyncFrom' },
);

/** In the order in which people see them. */
const parameters: Readonly<Record<string, Parameter>> = {
  'max-bandwidth': parameter(
    int('bytes per second of RAM that is sent while the guest runs; 0: no limit', { min: 0 }),
    {
      unit: 'bytes/second',
      form: { words: 'a size', read: word => parseSize(word, 'M') },
      get: ({ colo }) => colo.parameters.maxBandwidth,
      set: ({ colo }, value) => (colo.parameters.maxBandwidth = value),
    },
  ),
  'downtime-limit': parameter(
    int('ms that the guest may stand still at the end of a migration without COLO', {
      min: 0,
      max: 2_000_000,
    }),
    {
      unit: 'ms',
      get: ({ colo }) => colo.parameters.downtimeLimitMs,
      set: ({ colo }, value) => (colo.parameters.downtimeLimitMs = value),
    },
  ),
  'xbzrle-cache-size': parameter(
    int(
      "bytes that COLO's primary keeps of pages that it has sent, at most: of those only what " +
        'changed is sent; 0: none',
      { min: 0, max: 2 ** 32 - 1 },
    ),
    {
      unit: 'bytes',
      form: { words: 'a size', read: word => parseSize(word, 'B') },
      get: ({ colo }) => colo.parameters.xbzrleCacheBytes,
      set: ({ colo }, value) => (colo.parameters.xbzrleCacheBytes = value),
    },
  ),
  'tls-creds': parameter(
    str(
      'a tls-creds object, of the side that waits with endpoint=server: the next connection of a ' +
        'migration speaks TLS; empty: none does',
    ),
    {
      form: { words: 'the id of an object', read: word => word },
      get: ({ migrationTls }) => migrationTls.creds,
      set: ({ migrationTls }, value) => (migrationTls.creds = value),
    },
  ),
  'tls-hostname': parameter(
    str(
      "what the certificate of the side that waits must be made out to; empty: that side's address",
    ),
    {
      form: { words: 'a host name', read: word => word },
      get: ({ migrationTls }) => migrationTls.hostname,
      set: ({ migrationTls }, value) => (migrationTls.hostname = value),
    },
  ),
  'x-checkpoint-delay': parameter(
    int('the longest, in ms, from the start of a COLO checkpoint to the start of the next', uint32),
    {
      unit: 'ms',
      get: ({ colo }) => colo.pace.checkpointDelayMs,
      set: ({ colo }, value) => colo.setPace({ checkpointDelayMs: value }),
    },
  ),
  'x-checkpoint-gap': parameter(
    int(
      "the shortest, in ms, from start to start where the guest's output waits for a checkpoint; " +
        'no less than the delay: output waits for that',
      uint32,
    ),
    {
      unit: 'ms',
      get: ({ colo }) => colo.pace.checkpointGapMs,
      set: ({ colo }, value) => colo.setPace({ checkpointGapMs: value }),
    },
  ),
  'x-checkpoint-events': parameter(onOffType, {
    form: { words: "'on' or 'off'", read: word => onOffType.fromWord(word) },
    get: ({ machine }) => machine.lifecycle.checkpointEvents,
    set: ({ machine }, value) => (machine.lifecycle.checkpointEvents = value),
  }),
  'x-heartbeat-interval': parameter(
    int('ms between two signs of life for a COLO peer; at once, at most half a lease', {
      min: 10,
      max: HEARTBEAT_INTERVAL_MAX_MS,
    }),
    { unit: 'ms', get: ({ colo }) => colo.heartbeat.heartbeatMs },
  ),
  'x-heartbeat-timeout': parameter(
    int('ms without a sign of life after which a COLO peer is lost; at once, 3 intervals or more', {
      min: 50,
      max: 3_600_000,
    }),
    { unit: 'ms', get: ({ colo }) => colo.heartbeat.peerTimeoutMs },
  ),
  'x-sync-from': parameter(sideType, {
    form: { words: "'primary', 'secondary' or 'none'", read: word => sideType.fromWord(word) },
    get: ({ colo }) => colo.syncFrom ?? 'none',
    set: ({ colo }, value) => (colo.syncFrom = syncSides.find(side => side === value)),
  }),
};

export const parameterNames = Object.keys(parameters);
const { 'x-checkpoint-events': events, ...others } = parameters;
/** As the schema has them. */
export const parameterTypes: Fields = Object.fromEntries(
  Object.entries({ ...others, 'x-checkpoint-events': events }).map(([name, p]) => [name, p.type]),
);
const known = Object.keys(parameterTypes);

export const unitOf = (name: string) => parameters[name].unit ?? '';

export const parameterValues = (vm: Vm): Record<string, Value> =>
  Object.fromEntries(Object.entries(parameters).map(([name, { get }]) => [name, get(vm)]));

/** Checked by their types. All or none. */
export function setParameters(vm: Vm, changes: Values): void {
  // First, for it may be refused, and then nothing is to be changed.
  vm.colo.setHeartbeat({
    heartbeatMs: changes['x-heartbeat-interval'] as number | undefined,
    peerTimeoutMs: changes['x-heartbeat-timeout'] as number | undefined,
  });
  for (const [name, value] of Object.entries(changes))
    if (value !== undefined) parameters[name].set?.(vm, value as Value);
}

/** Reads the value from a word of an HMP line. */
export function parameterValue(name: string, text: string): Value {
  if (!Object.hasOwn(parameters, name))
    throw new VmError(`invalid parameter value: ${name}`, {
      hint: `Parameters: ${known.join(', ')}.${didYouMean(name, known)}`,
    });
  const { type, form = { words: 'an integer', read: word => int().fromWord(word) } } =
    parameters[name];
  const value = form.read(text);
  if (value === undefined)
    throw new VmError(`Parameter '${name}' expects ${form.words}, not '${text}'`);
  return type.check(value, name);
}
