/** The contract of a driver: what a node asks of the format or protocol below it. */
import type { DebugEvent } from './debug-event.js';

/**
 * What a format or protocol does for its node. A driver sees only requests that its node has
 * checked: in range, writable, not too long.
 */
export interface BlockDriver {
  /** QEMU's driver name. */
  readonly format: string;
  /** What others ask of it beside this (roles.ts). */
  readonly role?: 'image' | 'file' | 'remote' | 'quorum' | 'follower' | 'secondary';
  /** Every request goes to the child `file` as it is: the answers are the child's own. */
  readonly passesThrough?: boolean;
  /** Bytes, a multiple of 512. */
  readonly length: number;
  readonly readOnly: boolean;
  /** writeZeroes does not write them one by one. */
  readonly fastZeroes?: boolean;
  /** Longest request that it takes; the node splits longer ones. */
  readonly maxTransfer?: number;
  /** Longest discard and write-zeroes, if that is more: they carry no data. */
  readonly maxZeroes?: number;
  /**
   * into: where the driver may put the bytes, which saves it a new buffer; what is given back says
   * where they are.
   */
  pread(offset: number, length: number, into?: Buffer): Promise<Buffer>;
  /** The data belongs to the driver until the promise settles. fua: durable when it settles. */
  pwrite(offset: number, data: Uint8Array, fua: boolean): Promise<void>;
  flush(): Promise<void>;
  /**
   * Before each change of the range, which waits for what is given back; where nothing is, it need
   * not wait.
   */
  intend?(offset: number, length: number): Promise<void> | undefined;
  /** The content is no longer wanted; what a read gives afterwards is the driver's choice. */
  discard(offset: number, length: number): Promise<void>;
  writeZeroes(offset: number, length: number): Promise<void>;
  /** A cluster at once, packed if that saves space. */
  writeCompressed?(offset: number, data: Uint8Array): Promise<void>;
  /**
   * Makes it longer, with zeroes, or shorter. Only where the length may change: files, and images
   * that grow.
   */
  resize?(length: number): Promise<void>;
  /**
   * What the first bytes of the range are; at least one byte of it, at most all. Without it
   * everything is data.
   */
  blockStatus?(offset: number, length: number): Promise<BlockStatus>;
  /** From reading to writing or back, at rest. A failure leaves it as it was, or readable. */
  reopen?(readOnly: boolean): Promise<void>;
  /** false: another process has the image, and nothing of it is used here before activate(). */
  readonly active?: boolean;
  /** At rest, and flushed: another process may have the image from here on. */
  inactivate?(): void | Promise<void>;
  /** It is as the other process has left it. VmError: it has it still, and this stays inactive. */
  activate?(): Promise<void>;
  /** Something happens in the driver above: blkdebug makes rules of it. */
  debugEvent?(event: DebugEvent): void;
  /**
   * The sender of requests has stopped and waits for those under way, so none may be kept back
   * here. Returns a function that ends this.
   */
  drainBegin?(): () => void;
  /** Ends its connection to a server now: every request fails. */
  yank?(): void;
  close(): Promise<void>;
  /** For query-block and info block: one-word facts. */
  describe(): Record<string, string | number | boolean>;
}

export interface Extent {
  offset: number;
  length: number;
  data?: Buffer;
}

export interface HeldRun {
  held: boolean;
  length: number;
}

/**
 * A driver that a replication may lay over a disk: it knows what it holds, and gives it up at every
 * checkpoint.
 */
export interface Overlay extends BlockDriver {
  /** Roughly, since it was emptied last. */
  readonly bytes: number;
  /** Unit of content, and so of copy-before-write. */
  readonly unit: number;
  /** Whether the first bytes of the range are held here, and how many are alike. */
  heldFrom(offset: number, length: number): HeldRun | Promise<HeldRun>;
  /**
   * What is held, joined where it is adjacent, by rising offset; zero runs carry no data. The
   * content must not change during the walk.
   */
  extents(maxBytes: number): Iterable<Extent> | AsyncIterable<Extent>;
  /** Holds nothing afterwards. */
  clear(): void | Promise<void>;
  /** What is held survives the process, if it ever does. */
  settle(): Promise<void>;
}

/** A replication may lay it over a disk. */
export const isOverlay = (driver: BlockDriver): driver is Overlay => 'heldFrom' in driver;

/**
 * length bytes alike. allocated: this node holds them, not its backing node; zero: they read as
 * zeroes.
 */
export interface BlockStatus {
  length: number;
  allocated: boolean;
  zero: boolean;
  /** Where the bytes stand, as they are, in a node below; all length of them. */
  place?: DataPlace;
}

export interface DataPlace {
  node: { readonly driver: BlockDriver };
  offset: number;
}

/** Of a copy, a comparison or a check. */
export type ByteProgress = (doneBytes: number, totalBytes: number) => void;

export const SECTOR = 512;
/** Granularity of dirty bitmaps, QEMU's cluster. */
export const CLUSTER = 64 * 1024;

const zeroes = Buffer.alloc(CLUSTER);

/**
 * Most data shows what it is with its first byte; the rest is compared without a view of it for
 * each piece.
 */
export function isZero(data: Uint8Array, from = 0, to = data.length): boolean {
  if (data[from] !== 0 && from < to) return false;
  for (let at = from; at < to; at += CLUSTER) {
    const end = Math.min(to, at + CLUSTER);
    if (zeroes.compare(data, at, end, 0, end - at) !== 0) return false;
  }
  return true;
}
