/**
 * What a VM that was started from a pair definition does by itself, beside running: images first,
 * then exports, then protection.
 */
import { asVmError, AssertionError } from '../../base/errors.js';
import type { Host } from '../../host/ports.js';
import { monitorRegistry } from '../../monitor/commands/all.js';
import { standingOf } from '../../vm/standing.js';
import type { Vm } from '../../vm/vm.js';
import type { GivenOption } from '../options/argv.js';
import type { Role } from '../options/spec.js';
import { makeImages } from './images.js';
import { optionsOf } from './options.js';
import { type Guest, joinPeer } from './join.js';
import { exportDisks, type QmpCaller } from './protect.js';
import { type PairFile, readPairFile } from './read.js';
import { DEFAULT_WAIT_SECONDS, type PairDefinition } from './schema.js';
import { definitionFor, ownSide, parseSide } from './side.js';
import { rejoin } from './rejoin.js';

type Note = (line: string) => void;

export interface Pairing {
  readonly options: readonly GivenOption[];
  /** Before the machine is built. */
  prepare(host: Host, note: Note): Promise<void>;
  /** The secondary: before anybody is told that it is there. */
  expose(vm: Vm, note: Note): Promise<void>;
  /** The primary's guest runs when join() lets it. */
  readonly startsGuest: boolean;
  /**
   * The primary: the guest runs as soon as nothing forbids it, and is protected. With -rejoin:
   * whichever side has the guest alone is given its secondary again. Never rejects: a guest without
   * protection is told of, not ended.
   */
  join(vm: Vm, guest: Guest, note: Note, signal: AbortSignal): Promise<void>;
}

export interface PairingOptions {
  /** Of the definition; undefined: the role's own. */
  readonly side?: string;
  /** A guest that is alone looks for its secondary, again and again. */
  readonly rejoin: boolean;
  /** Without TLS also over a network. */
  readonly insecure: boolean;
}

export function pairingFrom(path: string, role: Role, options: PairingOptions): Pairing {
  const whole = readPairFile(path, options.insecure);
  const side = options.side === undefined ? ownSide(role) : parseSide(options.side);
  const file = definitionFor(whole, role, side);
  // What it is when the guest has come to this side.
  const later = options.rejoin ? definitionFor(whole, 'primary', side) : undefined;
  return {
    options: optionsOf(file, role),
    startsGuest: role === 'primary',
    ...stepsOf(file, role, later?.pair),
  };
}

function stepsOf(
  file: PairFile,
  role: Role,
  later: PairDefinition | undefined,
): Omit<Pairing, 'options' | 'startsGuest'> {
  const { pair } = file;
  return {
    prepare: (host, note) => makeImages(file, role, host, note),
    expose: async (vm, note) => {
      if (role === 'primary') return;
      await exportDisks(localMonitor(vm), pair);
      const disks = pair.peer.nbd === undefined ? '' : `, its disks are at ${pair.peer.nbd}`;
      note(`waits for the primary at ${pair.peer.migration}${disks}`);
    },
    join: async (vm, guest, note, signal) => {
      // A replica that has won is started as the primary by its supervisor.
      if (role === 'primary' || later)
        void vm.colo.coldStart?.decide((pair.peer.wait ?? DEFAULT_WAIT_SECONDS) * 1000);
      if (role === 'primary') await joinOnce(vm, pair, guest, { note, signal });
      if (later) await rejoin(localMonitor(vm), later, { alone: () => isAlone(vm), note, signal });
    },
  };
}

/** The primary, as it starts. */
async function joinOnce(
  vm: Vm,
  pair: PairDefinition,
  guest: Guest,
  { note, signal }: { note: Note; signal: AbortSignal },
): Promise<void> {
  try {
    const waitMs = (pair.peer.wait ?? DEFAULT_WAIT_SECONDS) * 1000;
    await joinPeer(localMonitor(vm), pair, guest, { note, signal, waitMs });
  } catch (error) {
    if (signal.aborted) return;
    const { message, options } = asVmError(error);
    note(`${message}${options.hint === undefined ? '' : `\n  ${options.hint}`}`);
  }
}

/** As rejoin() asks it. */
function isAlone(vm: Vm): boolean | undefined {
  const { runState } = vm.machine;
  if (runState === 'shutdown' || runState === 'postmigrate') return undefined;
  return standingOf(vm).pair === 'alone' && runState !== 'inmigrate' && runState !== 'prelaunch';
}

/** The commands of the VM in this process. */
export function localMonitor(vm: Vm): QmpCaller {
  const registry = monitorRegistry;
  const hmp = () => Promise.reject(new AssertionError('a pair is made without lines of HMP'));
  return {
    execute: (command, args = {}) =>
      registry.qmp(command).runQmp(vm, args, { registry, hmp, mayWait: false }),
  };
}
