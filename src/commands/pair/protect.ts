/**
 * The steps that make a pair of two processes, in the words of QMP: the secondary exports its
 * disks; the primary attaches the replicas and enters COLO. They run inside the VM's own process
 * (`--config`) or from elsewhere (`colo protect`).
 */
import { asVmError, VmError } from '../../base/errors.js';
import { parseSocketUri } from '../../migration/uri.js';
import { isObject } from '../../words/types.js';
import { progressOf } from '../progress.js';
import { defaultDelayMs, diskId, type PairDefinition } from './schema.js';

/** A monitor, ours or over a socket. */
export interface Monitor {
  execute(command: string, args?: Record<string, unknown>): Promise<unknown>;
}

export interface ProtectWorld {
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

const retryMs = 500;
/** For what will hardly change by itself. */
const slowRetryMs = 10_000;
const pollMs = 50;
const tellMs = 5000;

/** `nbd-server-start` and `-add`, for the disks of the secondary. */
export async function exportDisks(monitor: Monitor, pair: PairDefinition): Promise<void> {
  const { disks = [], peer } = pair;
  if (disks.length === 0 || peer.nbd === undefined) return;
  const address = parseSocketUri(peer.nbd, 'listen', 'peer.nbd');
  const addr =
    address.kind === 'unix'
      ? { type: 'unix', data: { path: address.path } }
      : { type: 'inet', data: { host: address.host, port: String(address.port) } };
  await monitor.execute('nbd-server-start', { addr });
  for (const id of disks.map(diskId))
    await monitor.execute('nbd-server-add', { device: id, writable: true });
}

/**
 * From a running primary to a protected one. VmError: it was not to be had within the time, or
 * never will be as things are; the guest goes on as it was.
 */
export async function protect(
  monitor: Monitor,
  pair: PairDefinition,
  world: ProtectWorld,
): Promise<void> {
  const told = new Set<string>();
  const once = (line: string) => void (told.has(line) || (told.add(line), world.note(line)));
  let deadline = performance.now() + world.waitMs;
  for (;;) {
    const failure = await attempt(monitor, pair, { ...world, note: once }).then(
      () => undefined,
      asVmError,
    );
    if (!failure) {
      const delay = pair['checkpoint-delay'] ?? defaultDelayMs;
      return world.note(`protected by ${pair.peer.migration}: a checkpoint every ${delay} ms`);
    }
    world.signal.throwIfAborted();
    world.ready?.();
    if (failure instanceof PeerLost) throw failure;
    const lasting = failure instanceof Lasting;
    const held = world.held?.();
    if (held) {
      deadline = performance.now() + world.waitMs;
      once(heldLine(held, failure));
    } else if (lasting || performance.now() + retryMs > deadline) {
      throw new VmError(`not protected: ${failure.message}`, {
        hint: failure.options.hint ?? later,
      });
    } else if (!told.has(failure.message)) {
      told.add(failure.message);
      const left = Math.ceil((deadline - performance.now()) / 1000);
      world.note(`waiting for the secondary, ${left} s more at most: ${failure.message}`);
    }
    await pause(lasting ? slowRetryMs : retryMs, world.signal);
  }
}

const later = 'When the secondary is there: colo protect NAME --config FILE';

/** A sentence for a guest that stands still: why, for how long, and what to do. */
function heldLine(held: VmError, failure: VmError): string {
  if (failure instanceof Lasting) {
    const { hint } = failure.options;
    return (
      `${failure.message}; it is asked again every ${slowRetryMs / 1000} ` +
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
async function attempt(monitor: Monitor, pair: PairDefinition, world: ProtectWorld): Promise<void> {
  await world.ask?.().catch((error: unknown) => {
    throw lastingOf(asVmError(error));
  });
  const attached: string[] = [];
  try {
    for (const id of (pair.disks ?? []).map(diskId)) {
      await attach(monitor, id, pair.peer.nbd ?? '');
      attached.push(id);
    }
    world.ready?.();
    if (attached.length > 0) world.note(`replicas attached: ${attached.join(', ')}`);
    await enterColo(monitor, pair, world);
  } catch (error) {
    if (!(error instanceof PeerLost)) for (const id of attached) await detach(monitor, id);
    throw error;
  }
}

const replicaNode = (id: string) => `${id}-replica`;

async function attach(monitor: Monitor, id: string, nbd: string): Promise<void> {
  const address = parseSocketUri(nbd, 'connect', 'peer.nbd');
  const server =
    address.kind === 'unix'
      ? { path: address.path }
      : { host: address.host, port: String(address.port) };
  await monitor.execute('blockdev-add', {
    driver: 'replication',
    mode: 'primary',
    'node-name': replicaNode(id),
    file: { driver: 'nbd', ...server, export: id },
  });
  try {
    await monitor.execute('x-blockdev-change', { parent: id, node: replicaNode(id) });
  } catch (error) {
    await monitor.execute('blockdev-del', { 'node-name': replicaNode(id) });
    throw error;
  }
}

/** As far as the machine lets go of it: what ended it may be the end of everything. */
async function detach(monitor: Monitor, id: string): Promise<void> {
  try {
    await monitor.execute('x-blockdev-change', { parent: id, child: 'children.1' });
    await monitor.execute('blockdev-del', { 'node-name': replicaNode(id) });
  } catch {
    // The next attempt, if there is one, says what is in the way.
  }
}

async function enterColo(
  monitor: Monitor,
  pair: PairDefinition,
  world: ProtectWorld,
): Promise<void> {
  await monitor.execute('migrate-set-capabilities', {
    capabilities: [{ capability: 'x-colo', state: true }],
  });
  await monitor.execute('migrate-set-parameters', {
    'x-checkpoint-delay': pair['checkpoint-delay'] ?? defaultDelayMs,
  });
  await monitor.execute('migrate', { uri: pair.peer.migration });
  let toldMs = performance.now();
  let told = '';
  for (;;) {
    const info = await monitor.execute('query-migrate');
    const status = isObject(info) ? info['status'] : undefined;
    if (status === 'active' || status === 'colo') world.ready?.();
    if (status === 'colo' && (await isProtected(monitor))) return;
    if (status === 'colo') await refuseLost(monitor);
    if (status === 'failed' || status === 'cancelled' || status === 'completed') {
      const failure = new VmError(reasonOf(info) ?? `migration ${status}`);
      throw isObject(info) && info['error-lasting'] === true ? lastingOf(failure) : failure;
    }
    if (performance.now() - toldMs > tellMs) {
      toldMs = performance.now();
      const progress = progressOf(info) ?? 'the sides are compared';
      if (progress !== told) world.note(`on the way into COLO: ${progress}`);
      told = progress;
    }
    await pause(pollMs, world.signal);
  }
}

const lastingOf = ({ message, options }: VmError) => new Lasting(message, options);

function reasonOf(info: unknown): string | undefined {
  const reason = isObject(info) ? info['error-desc'] : undefined;
  return typeof reason === 'string' ? reason : undefined;
}

async function isProtected(monitor: Monitor): Promise<boolean> {
  const vm = await monitor.execute('query-vm');
  return isObject(vm) && vm['protected'] === true;
}

async function refuseLost(monitor: Monitor): Promise<void> {
  const colo = await monitor.execute('query-colo-status');
  if (!isObject(colo) || colo['reason'] !== 'error') return;
  throw new PeerLost('the secondary was lost right after COLO began', {
    hint: 'If it is surely dead or stopped, let this side go on: colo failover NAME',
  });
}

/** The signal ends it early. */
function pause(ms: number, signal: AbortSignal): Promise<void> {
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
