/** What others may know of the block layer. */

/** A disk that a checkpoint covers (QEMU's replication.h). Every verb is awaited by the epoch; errors are VmError. */
export interface Replicated {
  readonly name: string;
  start(mode: 'primary' | 'secondary'): Promise<void>;
  /**
   * Primary: closes the epoch. Writes completed to the guest before this call belong to it; later ones are held back from the replica until
   * committed(). Resolves when every write of the epoch has been acknowledged by the replica; the number is how many there were.
   * The vCPUs are stopped and guest requests drained when it is called; the guest may resume before it resolves.
   */
  cut(): { epochDone: Promise<number> };
  /** Primary: the secondary has loaded the epoch (its overlays are empty): the held writes may flow. */
  committed(): void;
  /** Secondary: how many writes of the running epoch have arrived and are in the hidden/secondary disk. */
  arrived(): number;
  /** Secondary: empties active and hidden disk; the epoch's content is now the base. */
  checkpoint(): Promise<void>;
  /** failover: merge hidden, then active, into the secondary disk, durable, before the guest runs. Otherwise drop the overlays. */
  stop(failover: boolean): Promise<void>;
  /** The stored error that ends the epoch, if any. */
  error(): Error | undefined;
}

/** Guest side of a disk. offset and length in bytes, multiples of 512. */
export interface BlockBackend {
  readonly id: string;
  readonly nodeName: string;
  readonly length: number;
  readonly readOnly: boolean;
  pread(offset: number, length: number): Promise<Buffer>;
  /** The data belongs to the callee until the promise settles. */
  pwrite(offset: number, data: Uint8Array, options?: { fua?: boolean }): Promise<void>;
  flush(): Promise<void>;
  discard(offset: number, length: number): Promise<void>;
  writeZeroes(offset: number, length: number): Promise<void>;
}
