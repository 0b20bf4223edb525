/** What others may know of the network layer. */

/** Network output of the guest, held until a checkpoint covers it. */
export interface OutputHold {
  /** From now on guest output is queued (entry into COLO). */
  hold(): void;
  /** Closes the running epoch: everything queued so far belongs to the returned epoch number. vCPUs are stopped. */
  cut(): number;
  /** Epochs up to this one are safe: their packets leave, in order. */
  release(epoch: number): void;
  /** Leaving COLO with the guest going on here: everything leaves, nothing is held any more. */
  releaseAll(): void;
  /** This side lost: what is queued must never leave. */
  drop(): void;
  readonly heldPackets: number;
}

/** Host side of a network connection. */
export interface Netdev {
  readonly id: string;
  readonly type: string;
  /** Guest -> world, through the filter chain. False: no room now; onRoom tells when to try again. */
  send(frame: Uint8Array): boolean;
  onRoom(fn: () => void): void;
  /** World -> guest. The nic returns false when the guest has no buffer; nicReady() then asks for more. */
  attachNic(nic: { receive(frame: Uint8Array): boolean; readonly mac: Uint8Array; announce(): void }): void;
  nicReady(): void;
  /** The whole path stops and starts with the VM: a stopped VM's RAM must not change. */
  setRunning(running: boolean): void;
}
