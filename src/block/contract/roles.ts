/**
 * What a driver may be to others beside a driver. They ask for the role and never for a class, so
 * that another driver can have it, too.
 */
import type { OpenFile } from '../../host/ports.js';
import type { VmError } from '../../base/errors.js';
import type { ImageBitmap } from '../record/image-bitmap.js';
import type { ImageRecord } from '../record/image-record.js';
import type { Range } from '../record/regions.js';
import type { BlockDriver, Overlay } from './driver.js';
import type { BlockNode } from './node.js';

interface Roles {
  image: FormatImage;
  file: ImageFile;
  remote: RemoteDisk;
  quorum: Quorum;
  follower: Follower;
  secondary: SecondaryView;
}

/** undefined: it has another one, or none. */
export function inRole<R extends keyof Roles>(
  role: R,
  node: { readonly driver: BlockDriver } | undefined,
): Roles[R] | undefined {
  return node?.driver.role === role ? (node.driver as Roles[R]) : undefined;
}

/** A file of this host, or a device. */
export interface ImageFile extends BlockDriver {
  readonly role: 'file';
  readonly path: string;
  /** Past the host's page cache. */
  readonly direct: boolean;
  /** For copies from file to file. */
  readonly hostFile: OpenFile;
  /** What the image knows of its pair. */
  readonly record: ImageRecord;
  /** In which regions it may differ from its peer's image. */
  readonly bitmap: ImageBitmap;
}

/** A format whose clusters lie in a file, over a backing image that its header names. */
export interface FormatImage extends Overlay {
  readonly role: 'image';
  readonly header: { readonly backingFile?: string };
  /** Persistent bitmaps that still follow the disk. */
  readonly liveBitmaps: string[];
  /** In the header: which image is read where this one holds nothing. */
  setBackingFile(name: string | undefined, format: string | undefined): Promise<void>;
  writeCompressed(offset: number, data: Uint8Array): Promise<void>;
}

/** A disk of a server. */
export interface RemoteDisk extends BlockDriver {
  readonly role: 'remote';
  readonly exportName: string;
  /** The connection may heal by itself. */
  readonly reconnects: boolean;
  /** A flush reaches the server's medium. */
  readonly flushes: boolean;
  /** As long as the connection is not whole. */
  readonly error: VmError | undefined;
  /** For who must know at once, not only at the next request. */
  onFailure: (error: VmError) => void;
}

/** Several copies of one disk. */
export interface Quorum extends BlockDriver {
  readonly role: 'quorum';
  readonly options: { readonly readPattern: 'fifo' | 'quorum' };
  /** The node's own children, which change here. */
  readonly children: Map<string, BlockNode>;
  readonly voters: BlockNode[];
  readonly followers: Follower[];
  /** Returns the name of the edge. */
  addChild(node: BlockNode): Promise<string>;
  removeChild(edge: string): Promise<BlockNode>;
}

/**
 * The disk whose content is replicated: the quorum. Its lock keeps guest writes of the range away
 * while body runs.
 */
export interface ForwardSource {
  withRange(
    offset: number,
    length: number,
    body: (read: () => Promise<Buffer>) => Promise<void>,
  ): Promise<void>;
}

/**
 * A quorum's child that has no vote: it gets a write once the voting children have it, answers no
 * read, and fails no write of the guest.
 */
export interface Follower extends BlockDriver {
  readonly role: 'follower';
  readonly options: { readonly assumeInSync: boolean };
  /** The quorum that this is a child of; undefined when it has been taken out. */
  forwardSource: ForwardSource | undefined;
  /**
   * What the peer calls the disk; undefined when the replica is not an NBD export, or the nameless
   * one.
   */
  readonly exportName: string | undefined;
  /** Noted, and not yet carried over. */
  readonly dirtyBytes: number;
  /** Of the disk, that start() has carried over so far. */
  readonly carriedBytes: number;
  /** Grows with every write that the replica has acknowledged. */
  readonly progress: number;
  /** stop() was called, or the quorum has let it go. */
  readonly ended: boolean;
  /** Nothing more will come of it: it was stopped, or has lost its server before it began. */
  readonly spent: boolean;
  start(): Promise<void>;
  cut(): { epochDone: Promise<number> };
  committed(): void;
  aborted(): void;
  stop(): void;
  error(): Error | undefined;
  /** The guest has written there since this was attached. */
  isDirty(offset: number, length: number): boolean;
  /** These ranges differ at the replica. */
  markDirty(offset: number, length: number): void;
  /** All that was noted, and is not yet carried over. */
  dirtyRuns(): Iterable<Range>;
  /** What the replica has is on its medium. VmError: that cannot be said. */
  flushReplica(): Promise<void>;
  /** What the replica holds; nothing is under way to it. */
  readReplica(offset: number, length: number): Promise<Buffer>;
  /**
   * The voting children failed, so the content of the range is unknown: the replica gets what can
   * be read back.
   */
  resend(offset: number, length: number, read: () => Promise<Buffer>): Promise<void>;
}

/**
 * none: not started, or stopped without failover, and may start. running. failover: merging.
 * failover-failed: the merge is to be tried again. done: a plain disk.
 */
export type SecondaryState = 'none' | 'running' | 'failover' | 'failover-failed' | 'done';

/** The secondary guest's view of a disk. */
export interface SecondaryView extends BlockDriver {
  readonly role: 'secondary';
  readonly chain: { readonly assumeInSync: boolean; readonly topId?: string };
  readonly disk: BlockNode;
  readonly state: SecondaryState;
  readonly progress: number;
  claim(): void;
  unclaim(): void;
  start(): Promise<void>;
  arrived(): number;
  seal(count: number): Promise<void>;
  checkpoint(): Promise<void>;
  stop(failover: boolean): Promise<void>;
  error(): Error | undefined;
}
