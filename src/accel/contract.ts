/**
 * TypeScript face of the machine's memory and CPUs. The addon's classes satisfy it
 * (accel/addon.ts); so do the fakes of the device tests.
 */

/**
 * Guest-physical memory: the one door for devices and loaders. Every write marks its pages dirty.
 * An address outside RAM never throws: reads give undefined, writes give false, and the device does
 * what the chip would do on a bus error.
 */
export interface GuestMemory {
  readonly size: number;
  /** True if [gpa, gpa+length) is RAM in one slot. */
  contains(gpa: number, length: number): boolean;
  /**
   * A view of live guest bytes for reading (or, followed by markWritten, for writing); undefined if
   * not RAM or if it crosses a window.
   */
  view(gpa: number, length: number): Uint8Array | undefined;
  /** A copy. */
  read(gpa: number, length: number): Buffer | undefined;
  readU8(gpa: number): number | undefined;
  readU16(gpa: number): number | undefined;
  readU32(gpa: number): number | undefined;
  readU64(gpa: number): bigint | undefined;
  write(gpa: number, bytes: Uint8Array): boolean;
  writeU8(gpa: number, value: number): boolean;
  writeU16(gpa: number, value: number): boolean;
  writeU32(gpa: number, value: number): boolean;
  writeU64(gpa: number, value: bigint): boolean;
  /** After writing through a view. */
  markWritten(gpa: number, length: number): void;
}

/** Page numbers are dense over all RAM slots. take / gather / scatter want the vCPUs stopped. */
export interface DirtyLog {
  start(): void;
  stop(): void;
  readonly active: boolean;
  count(): number;
  /** Moves the set out, ascending, and clears it. */
  take(): Uint32Array;
  /** Puts pages of an aborted epoch back. */
  restore(pages: Uint32Array): void;
}

/** Pages [from, to). */
export interface PageRun {
  from: number;
  to: number;
}

/** A range of guest-physical space as CPUs see it: whole pages of memory. */
export interface Mapping {
  gpa: number;
  size: number;
  /** In memory: RAM from 0, in the order of its addresses, and what is extra behind it. */
  offset: number;
  /** Reads and code are memory, writes go to devices. */
  readOnly: boolean;
}

/** The memory of a graphics card: pages behind RAM and ROM, part of a checkpoint as they are. */
export interface VideoMemory {
  /** Live. */
  readonly bytes: Uint8Array;
  /** Bytes [offset, offset + length) were written. */
  markWritten(offset: number, length: number): void;
  /**
   * Where the guest's processors have it from now on; undefined: nowhere. At an address where other
   * memory or the machine's own chips are, they do not see it.
   */
  map(gpa: number | undefined): void;
}

export interface Ram extends GuestMemory {
  /** Of a machine that has a card. */
  readonly video?: VideoMemory;
  /** Of RAM and of what is extra. */
  readonly pageCount: number;
  /** Bytes behind RAM (ROM), nowhere until setMap shows them. Pages of a checkpoint as RAM is. */
  readonly extraBytes: number;
  /** at: from the first of them. */
  writeExtra(at: number, bytes: Uint8Array): void;
  /** A copy. */
  readExtra(at: number, length: number): Buffer;
  /**
   * What CPUs see from now on, at first RAM and nothing else. Ranges do not overlap, at most 32;
   * two may show the same memory. Devices see all of RAM whatever it says.
   */
  setMap(map: readonly Mapping[]): void;
  readonly dirtyLog: DirtyLog;
  /**
   * Copies the pages to out, 4096 bytes each. Precopy does it while vCPUs run: a page written
   * meanwhile may come out torn, and is dirty again.
   */
  gather(pages: Uint32Array, out: Uint8Array): void;
  /** Copies them back over RAM. */
  scatter(pages: Uint32Array, data: Uint8Array): void;
  /** Makes them zeroes; a page that holds no memory stays without. */
  zero(pages: Uint32Array): void;
  /**
   * The pages that hold memory, ascending; every other page reads as zeroes, and to read it would
   * give it memory.
   */
  populated(): PageRun[];
  /** What changed counts from the content of these pages. */
  pageCodec(): PageCodec;
  /** Of all RAM; for tests that compare two sides. */
  hash(): bigint;
}

/**
 * Pages as a checkpoint sends them (migration/packed-pages.ts has the format), a chunk in each
 * call. Of one peer: it keeps in mind what compresses.
 */
export interface PageCodec {
  /**
   * data: a page for each tag. Fills the tags in and the payload, and gives the payload's length;
   * out has room for 4 bytes and all pages whole. bases, keeps: the page of `store` that holds the
   * former content, and the page of it that gets the new one; -1: none. A page of zeroes is not
   * kept.
   */
  pack(
    data: Uint8Array,
    tags: Uint16Array,
    bases: Int32Array,
    keeps: Int32Array,
    store: Uint8Array,
    out: Uint8Array,
  ): number;
  /**
   * An untrusted payload; pages and tags have been checked. out gets each page that is not zeroes,
   * one after the other. A sentence says what is wrong with it.
   */
  unpack(
    pages: Uint32Array,
    tags: Uint16Array,
    payload: Uint8Array,
    out: Uint8Array,
  ): string | undefined;
}

/**
 * What a vCPU's device access becomes. Port and MMIO accesses are answered on the main loop; size
 * 1, 2, 4, 8.
 */
export interface ExitHandler {
  pioRead(port: number, size: number): number;
  pioWrite(port: number, size: number, value: number): void;
  mmioRead(gpa: number, size: number): bigint;
  mmioWrite(gpa: number, size: number, value: bigint): void;
}

export type StopReason =
  { kind: 'requested' } | { kind: 'shutdown' } | { kind: 'internal-error'; message: string };

/** One state blob, checked before it is loaded. */
export interface StateBlob {
  save(): Buffer;
  /** A sentence that names the offending part, or undefined if load() of it cannot fail. */
  check(data: Uint8Array): string | undefined;
  load(data: Uint8Array): void;
}

export interface Doorbell {
  space: 'mmio' | 'pio';
  address: number;
  size: number;
  /** Only writes of this value; undefined = any. */
  datamatch?: number;
  ring: () => void;
}

/** Packages, cores in each, threads in each core. */
export interface Topology {
  readonly sockets: number;
  readonly cores: number;
  readonly threads: number;
}

/** The processor that a guest sees (native/vcpu/model.h). */
export interface CpuModel extends Topology {
  readonly name: string;
  readonly vendor: string;
  /** CPUID 1 EAX: family, model, stepping. */
  readonly signature: number;
  readonly brand: string;
  /** Words in the order of cpu-features.ts. */
  readonly features: readonly number[];
}

/** vCPUs, chips and guest time of one VM. */
export interface VmAccel {
  readonly ram: Ram;
  readonly cpuCount: number;
  readonly name: 'soft' | 'kvm';
  readonly cpuModel: CpuModel;
  /** By index of the vCPU. */
  readonly apicIds: readonly number[];
  /** The host's ids of the vCPUs' threads, for `info cpus`. */
  threadIds(): readonly number[];
  setExitHandler(handler: ExitHandler): void;
  /** Interrupt inputs: gsi 0..23. */
  setIrq(gsi: number, level: boolean): void;
  signalMsi(address: bigint, data: number): void;
  /** Returns the way to remove it. */
  addDoorbell(bell: Doorbell): { dispose(): void };
  /** All vCPUs run on their threads. */
  start(): void;
  /**
   * Resolves when every vCPU is stopped at an instruction boundary with its exit complete; the main
   * loop answers exits until then.
   */
  stop(): Promise<void>;
  readonly running: boolean;
  /** A vCPU stopped by itself. */
  onStopped(fn: (reason: StopReason) => void): void;
  /** Stopped only. Guest registers of CPU n as text lines for `info registers`. */
  registers(cpu: number): string;
  icount(cpu: number): bigint;
  readonly cpus: readonly StateBlob[];
  readonly chips: StateBlob;
  /** Guest clock, ns. */
  guestNs(): bigint;
  /** The clock continues from here (never backwards). */
  continueClock(ns: bigint): void;
  reset(): void;
  /** After a reset: these inputs of the 8259s are levels, as firmware sets their ELCR. */
  setLevelIrqs(irqs: readonly number[]): void;
  /**
   * Between stop() and start(), after a pause that the guest would take for a lockup: sets the
   * kvmclock flag that says that the host stopped it. Writes to guest RAM (logged).
   */
  guestStopped(): void;
  dispose(): void;
}
