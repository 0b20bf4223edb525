/**
 * The steps that make a pair of two processes, in the words of QMP: the secondary exports its
 * disks; the primary attaches the replicas and enters COLO. They run inside the VM's own process
 * (`--config`) or from elsewhere (`colo protect`).
 */
import { asVmError, VmError } from '../../base/errors.js';
import { parseSocketUri } from '../../migration/uri.js';
import { isObject } from '../../words/types.js';
import { progressOf } from '../progress.js';
import { withTls } from './secure.js';
import { activeDiskId, defaultDelayMs, pairTimes, diskId, type PairDefinition } from './schema.js';

/** A monitor, ours or over a socket. */
export interface QmpCaller {
  execute(command: string, args?: Record<string, unknown>): Promise<unknown>;
}

export interface ProtectOptions {
  /** For people. */
  note(line: string): void;
  /** The VM is over, or the user has had enough. */
  readonly signal: AbortSignal;
  /** Tries to reach the secondary for so long. */
  readonly waitMs: number;
  /** Before an attempt. A VmError stands for the attempt: the peer runs the guest. */
  ask?(): Promise<void>;
  /** The guest, if it has not run yet, need not wait longer, unless it is held. */
  ready?(): void;
  /** Why the guest does not run without its secondary: then it is tried for as long as it takes. */
  held?(): VmError | undefined;
}

const RETRY_MS = 500;
/** For what will hardly change by itself. */
const SLOW_RETRY_MS = 10_000;
const POLL_MS = 50;
const TELL_MS = 5000;

/** `nbd-server-start` and `-add`, for the disks of the secondary. */
export async function exportDisks(monitor: QmpCaller, pair: PairDefinition): Promise<void> {
  const { disks = [], peer } = pair;
  if (disks.length === 0 || peer.nbd === undefined) return;
  const address = parseSocketUri(peer.nbd, 'listen', 'peer.nbd');
  const addr =
    address.kind === 'unix'
      ? { type: 'unix', data: { path: address.path } }
      : { type: 'inet', data: { host: address.host, port: String(address.port) } };
  await monitor.execute('nbd-server-start', { addr, ...withTls(pair) });
  for (const id of disks.map(diskId))
    await monitor.execute('nbd-server-add', { device: id, writable: true });
}

/**
 * From a running primary to a protected one. VmError: it was not to be had within the time, or
 * never will be as things are; the guest goes on as it was.
 */
export async function protect(
  monitor: QmpCaller,
  pair: PairDefinition,
  options: ProtectOptions,
): Promise<void> {
  const told = new Set<string>();
  const once = (line: string) => void (told.has(line) || (told.add(line), options.note(line)));
  let deadline = performance.now() + options.waitMs;
  for (;;) {
    const failure = await attempt(monitor, pair, { ...options, note: once }).then(
      () => undefined,
      asVmError,
    );
    if (!failure) {
      const delay = pair['checkpoint-delay'] ?? defaultDelayMs;
      return options.note(
        `protected by ${pair.peer.migration}: a checkpoint at least every ${delay} ms`,
      );
    }
    options.signal.throwIfAborted();
    options.ready?.();
    if (failure instanceof PeerLost) throw failure;
    const lasting = failure instanceof Lasting;
    const held = options.held?.();
    if (held) {
      deadline = performance.now() + options.waitMs;
      once(heldLine(held, failure));
    } else if (lasting || performance.now() + RETRY_MS > deadline) {
      throw new VmError(`not protected: ${failure.message}`, {
        hint: failure.options.hint ?? LATER_HINT,
      });
    } else if (!told.has(failure.message)) {
      told.add(failure.message);
      const left = Math.ceil((deadline - performance.now()) / 1000);
      const limit = left === Infinity ? '' : `, ${left} s more at most`;
      options.note(`waiting for the secondary${limit}: ${failure.message}`);
    }
    await pause(lasting ? SLOW_RETRY_MS : RETRY_MS, options.signal);
  }
}

const LATER_HINT = 'When the secondary is there: colo protect NAME --config FILE';

/** A sentence for a guest that stands still: why, for how long, and what to do. */
function heldLine(held: VmError, failure: VmError): string {
  if (failure instanceof Lasting) {
    const { hint } = failure.options;
    return (
      `${failure.message}; it is asked again every ${SLOW_RETRY_MS / 1000} ` +
      `s${hint === undefined ? '' : `\n  ${hint}`}`
    );
  }
  const { hint } = held.options;
  const wait = `waiting for its answer, as long as it takes: ${failure.message}`;
  return `${held.message}; ${wait}${hint === undefined ? '' : `\n  ${hint}`}`;
}

/** To try again as things are changes nothing. */
class Lasting extends VmError {}

/** It was in COLO already: what follows is a decision, not another attempt. */
class PeerLost extends VmError {}

/** All of it, or nothing is left behind. */
async function attempt(
  monitor: QmpCaller,
  pair: PairDefinition,
  options: ProtectOptions,
): Promise<void> {
  await options.ask?.().catch((error: unknown) => {
    throw lastingOf(asVmError(error));
  });
  const attached: string[] = [];
  try {
    for (const id of (pair.disks ?? []).map(diskId)) {
      await attach(monitor, id, pair);
      attached.push(id);
    }
    options.ready?.();
    if (attached.length > 0) options.note(`replicas attached: ${attached.join(', ')}`);
    await enterColo(monitor, pair, options);
  } catch (error) {
    if (!(error instanceof PeerLost)) for (const id of attached) await detach(monitor, id);
    throw error;
  }
}

const replicaNode = (id: string) => `${id}-replica`;

/** The drive of the guest: on a side that has taken over it is the one that a secondary has. */
async function guestDrive(monitor: QmpCaller, id: string): Promise<string> {
  const drives = await monitor.execute('query-block');
  const active = activeDiskId(id);
  const isActive = (drive: unknown) => isObject(drive) && drive['device'] === active;
  return Array.isArray(drives) && drives.some(isActive) ? active : id;
}

async function attach(monitor: QmpCaller, id: string, pair: PairDefinition): Promise<void> {
  const address = parseSocketUri(pair.peer.nbd ?? '', 'connect', 'peer.nbd');
  const server =
    address.kind === 'unix'
      ? { path: address.path }
      : { host: address.host, port: String(address.port) };
  await monitor.execute('blockdev-add', {
    driver: 'replication',
    mode: 'primary',
    'node-name': replicaNode(id),
    file: { driver: 'nbd', ...server, export: id, ...withTls(pair) },
  });
  try {
    const parent = await guestDrive(monitor, id);
    await monitor.execute('x-blockdev-change', { parent, node: replicaNode(id) });
  } catch (error) {
    await monitor.execute('blockdev-del', { 'node-name': replicaNode(id) });
    throw error;
  }
}

/** As far as the machine lets go of it: what ended it may be the end of everything. */
async function detach(monitor: QmpCaller, id: string): Promise<void> {
  try {
    const parent = await guestDrive(monitor, id);
    await monitor.execute('x-blockdev-change', { parent, child: 'children.1' });
    await monitor.execute('blockdev-del', { 'node-name': replicaNode(id) });
  } catch {
    // The next attempt, if there is one, says what is in the way.
  }
}

/** Of a VM that was not started from this definition, too. */
const timesOf = (pair: PairDefinition) =>
  Object.fromEntries(
    pairTimes.flatMap(name => (pair[name] === undefined ? [] : [[`x-${name}`, pair[name]]])),
  );

async function enterColo(
  monitor: QmpCaller,
  pair: PairDefinition,
  options: ProtectOptions,
): Promise<void> {
  await monitor.execute('migrate-set-capabilities', {
    capabilities: [{ capability: 'x-colo', state: true }],
  });
  await monitor.execute('migrate-set-parameters', {
    'x-checkpoint-delay': pair['checkpoint-delay'] ?? defaultDelayMs,
    ...timesOf(pair),
    ...withTls(pair),
  });
  await monitor.execute('migrate', { uri: pair.peer.migration });
  let toldMs = performance.now();
  let told = '';
  for (;;) {
    const info = await monitor.execute('query-migrate');
    const status = isObject(info) ? info['status'] : undefined;
    if (status === 'active' || status === 'colo') options.ready?.();
    if (status === 'colo' && (await isProtected(monitor))) return;
    if (status === 'colo') await refuseLost(monitor);
    if (status === 'failed' || status === 'cancelled' || status === 'completed') {
      const failure = new VmError(reasonOf(info) ?? `migration ${status}`);
      throw isObject(info) && info['error-lasting'] === true ? lastingOf(failure) : failure;
    }
    if (performance.now() - toldMs > TELL_MS) {
      toldMs = performance.now();
      const progress = progressOf(info) ?? 'the sides are compared';
      if (progress !== told) options.note(`on the way into COLO: ${progress}`);
      told = progress;
    }
    await pause(POLL_MS, options.signal);
  }
}

const lastingOf = ({ message, options }: VmError) => new Lasting(message, options);

function reasonOf(info: unknown): string | undefined {
  const reason = isObject(info) ? info['error-desc'] : undefined;
  return typeof reason === 'string' ? reason : undefined;
}

async function isProtected(monitor: QmpCaller): Promise<boolean> {
  const vm = await monitor.execute('query-vm');
  return isObject(vm) && vm['protected'] === true;
}

async function refuseLost(monitor: QmpCaller): Promise<void> {
  const colo = await monitor.execute('query-colo-status');
  if (!isObject(colo) || colo['reason'] !== 'error') return;
  throw new PeerLost('the secondary was lost right after COLO began', {
    hint: 'If it is surely dead or stopped, let this side go on: colo failover NAME',
  });
}

/** The signal ends it early. */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(asVmError(signal.reason));
    };
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', stop);
      resolve();
    }, ms);
    if (signal.aborted) stop();
    else signal.addEventListener('abort', stop, { once: true });
  });
}
