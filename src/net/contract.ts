/** What others may know of the network layer. */

/** Network output of the guest, held until a checkpoint covers it. Epoch numbers are the caller's and ascend. */
export interface OutputHold {
  /** From now on guest output is queued (entry into COLO). mayLeave is asked before each packet that a release lets go. */
  hold(mayLeave: () => boolean): void;
  /** Closes an epoch: what is queued and not yet in an earlier epoch belongs to this one. vCPUs are stopped. */
  cut(epoch: number): void;
  /** Epochs up to this one are safe: their packets leave, in order, as long as mayLeave says so. Call it again when it does again. */
  release(epoch: number): void;
  /** Leaving COLO with the guest going on here: everything leaves, nothing is held any more. */
  releaseAll(): void;
  /** This side lost: what is queued must never leave, nor what comes. */
  drop(): void;
  readonly heldPackets: number;
}

/** The guest's side of a network connection. */
export interface NicPort {
  /** False: the guest has no buffer now; Netdev.nicReady() tells when it has. The frame is the nic's to read during the call only. */
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

/** Host side of a network connection. */
export interface Netdev {
  readonly id: string;
  readonly type: string;
  /** The default filter-buffer: what holds this netdev's guest output. */
  readonly output: OutputHold;
  /** Guest -> world, through the filter chain. False: no room now; onRoom tells when to try again. The frame is copied if it is kept. */
  send(frame: Uint8Array): boolean;
  /** One listener: the nic. */
  onRoom(fn: () => void): void;
  /** World -> guest. The nic returns false when the guest has no buffer; nicReady() then asks for more. */
  attachNic(nic: NicPort): void;
  nicReady(): void;
  /** The whole path stops and starts with the VM: a stopped VM's RAM must not change. */
  setRunning(running: boolean): void;
  /** `set_link`. Down: frames are dropped both ways, as with the cable out. */
  setLink(up: boolean): void;
  /** One announcement of the guest's address to the world, past the filters, and by the guest itself. */
  announce(): void;
  info(): NetdevInfo;
  dispose(): void;
}
