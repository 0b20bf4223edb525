/**
 * What a VM that was started from a pair definition does by itself, beside running: images first,
 * then exports, then protection.
 */
import { asVmError, AssertionError } from '../../base/errors.js';
import type { Host } from '../../host/ports.js';
import { monitorRegistry } from '../../monitor/commands/all.js';
import type { Vm } from '../../vm/vm.js';
import type { GivenOption } from '../options/argv.js';
import type { Role } from '../options/spec.js';
import { makeImages } from './images.js';
import { optionsOf } from './options.js';
import { type Guest, joinPeer } from './join.js';
import { exportDisks, type Monitor } from './protect.js';
import { type PairFile, readPairFile } from './read.js';
import { defaultWaitSeconds } from './schema.js';

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
   * The primary: the guest runs as soon as nothing forbids it, and is protected. Never rejects: a
   * guest without protection is told of, not ended.
   */
  join(vm: Vm, guest: Guest, note: Note, signal: AbortSignal): Promise<void>;
}

export function pairingFrom(path: string, role: Role): Pairing {
  const file = readPairFile(path);
  return {
    options: optionsOf(file, role),
    startsGuest: role === 'primary',
    ...stepsOf(file, role),
  };
}

function stepsOf(file: PairFile, role: Role): Omit<Pairing, 'options' | 'startsGuest'> {
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
      if (role === 'secondary') return;
      try {
        const waitMs = (pair.peer.wait ?? defaultWaitSeconds) * 1000;
        await joinPeer(localMonitor(vm), pair, guest, { note, signal, waitMs });
      } catch (error) {
        if (signal.aborted) return;
        const { message, options } = asVmError(error);
        note(`${message}${options.hint === undefined ? '' : `\n  ${options.hint}`}`);
      }
    },
  };
}

/** The commands of the VM in this process. */
export function localMonitor(vm: Vm): Monitor {
  const registry = monitorRegistry;
  const hmp = () => Promise.reject(new AssertionError('a pair is made without lines of HMP'));
  return {
    execute: (command, args = {}) =>
      registry.qmp(command).runQmp(vm, args, { registry, hmp, mayWait: false }),
  };
}
