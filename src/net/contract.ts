/** What others may know of the network layer. */
import type { Forward, UserNetConfig } from '../host/ports.js';

/**
 * Network output of the guest, held until a checkpoint covers it. Epoch numbers are the caller's
 * and ascend.
 */
export interface OutputHold {
  /**
   * From now on guest output is queued (entry into COLO). mayLeave is asked before each packet that
   * a release lets go; began is called when output begins to wait.
   */
  hold(mayLeave: () => boolean, began?: () => void): void;
  /**
   * Closes an epoch: what is queued and not yet in an earlier epoch belongs to this one. vCPUs are
   * stopped.
   */
  cut(epoch: number): void;
  /**
   * Epochs up to this one are safe: their packets leave, in order, as long as mayLeave says so.
   * Call it again when it does again.
   */
  release(epoch: number): void;
  /** Leaving COLO with the guest going on here: everything leaves, nothing is held any more. */
  releaseAll(): void;
  /** This side lost: what is queued must never leave, nor what comes. */
  drop(): void;
  readonly heldPackets: number;
  /** Some of them are in no epoch that is safe. */
  readonly waits: boolean;
  /** Something may leave just now: nothing is held, or the gate is open. */
  readonly open: boolean;
}

export type Direction = 'rx' | 'tx';
/**
 * pass: on to the next. stolen: the filter keeps it, and sends it on by forward() or never. full:
 * not taken, the sender keeps it.
 */
export type FilterVerdict = 'pass' | 'stolen' | 'full';

export interface NetFilter {
  readonly name: string;
  readonly direction: Direction | 'all';
  /** Off: frames go past it. */
  readonly on: boolean;
  /** The frame is the caller's: copy what is kept. */
  take(frame: Uint8Array, direction: Direction): FilterVerdict;
  /**
   * A frame that passed was taken further on: the time to copy it, for one that is refused further
   * on comes again.
   */
  seen?(frame: Uint8Array, direction: Direction): void;
  /** There is room behind it again: what it keeps may go on. */
  pump?(direction: Direction): void;
  info(): FilterInfo;
}

/** What a filter may ask of the chain that it is in. */
export interface FilterPort {
  /**
   * Sends a frame on from here: one that was stolen, or a new one. False: no room now; pump() is
   * called when there is.
   */
  forward(frame: Uint8Array, direction: Direction): boolean;
  /**
   * A copy that leaves the VM some other way. One of guest output waits like the output itself.
   * False: no room; pump() is called when there is.
   */
  emit(frame: Uint8Array, direction: Direction, sink: (frame: Uint8Array) => void): boolean;
  /** The filter has room again, after it was full. */
  room(direction: Direction): void;
}

/** Where a filter goes: relative to the ends, or to another one. before is the side of the head. */
export type FilterPlace = 'head' | 'tail' | { insert: 'before' | 'behind'; id: string };

/**
 * A user's filters come and go. Whatever they pass on to the world, or copy, waits in the output
 * hold like the output itself.
 */
export interface FilterSlots {
  insert(filter: NetFilter, place: FilterPlace): FilterPort;
  remove(filter: NetFilter): void;
}

/** The guest's side of a network connection. */
export interface NicPort {
  /**
   * False: the guest has no buffer now; Netdev.nicReady() is called when it has. The frame is the
   * nic's to read during the call only.
   */
  receive(frame: Uint8Array): boolean;
  readonly mac: Uint8Array;
  /** Has the guest announce itself, where its driver can. */
  announce(): void;
}

/** One filter of `info network`. */
export interface FilterInfo {
  name: string;
  type: string;
  direction: 'rx' | 'tx' | 'all';
  status: 'on' | 'off';
  properties: Record<string, string | number>;
}

/** One netdev of `info network`. */
export interface NetdevInfo {
  id: string;
  type: string;
  link: 'up' | 'down';
  properties: Record<string, string | number>;
  mac: string | undefined;
  filters: FilterInfo[];
}

/** Ports of the host that lead to the guest. */
export interface Forwards {
  /** Where a rule leads that does not say it. */
  readonly config: UserNetConfig;
  /** VmError: it is forwarded already, or the host's port is taken. */
  add(forward: Forward): void;
  /** False: there is no such one. Connections that came by it stay. */
  remove(from: Omit<Forward, 'guest' | 'guestPort'>): boolean;
  /** The connections, and what waits to be opened: lines for people. */
  describe(): string;
}

/** Host side of a network connection. */
export interface Netdev {
  /** Of a netdev that has such ports. */
  readonly forwards?: Forwards;
  readonly id: string;
  readonly type: string;
  /** Holds this netdev's guest output while COLO wants it. */
  readonly outputHold: OutputHold;
  /** What a user put between the nic and that. */
  readonly filters: FilterSlots;
  /**
   * Guest -> world, through the filter chain. False: no room now; onRoom is called when there is.
   * The frame is copied if it is kept.
   */
  send(frame: Uint8Array): boolean;
  /** One listener: the nic. */
  onRoom(fn: () => void): void;
  /**
   * World -> guest. The nic returns false when the guest has no buffer; nicReady() then asks for
   * more.
   */
  attachNic(nic: NicPort): void;
  nicReady(): void;
  /** The whole path stops and starts with the VM: a stopped VM's RAM must not change. */
  setRunning(running: boolean): void;
  /** `set_link`. Down: frames are dropped both ways, as with the cable out. */
  setLink(up: boolean): void;
  /**
   * One announcement of the guest's address to the world, past the filters, and by the guest
   * itself. A side whose output may not leave says nothing.
   */
  announce(): void;
  info(): NetdevInfo;
  dispose(): void;
}
