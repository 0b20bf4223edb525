/** The guest side of a disk, as its device sees it: requests, errors, properties. */

/** What a device with a tray is for the user who changes its medium. */
export interface MediumTray {
  readonly open: boolean;
  /** The guest keeps it shut. */
  readonly locked: boolean;
  /** The user wants it open, and the guest is asked. */
  askToOpen(): void;
  move(open: boolean): void;
}

/** offset and length in bytes, multiples of 512. */
export interface BlockBackend {
  readonly id: string;
  readonly nodeName: string;
  readonly length: number;
  readonly readOnly: boolean;
  /** False only of a drive that may be empty. */
  readonly hasMedium: boolean;
  /** The device in front has one. */
  useTray(tray: MediumTray): void;
  /** The device has moved it, whoever wanted that. */
  trayMoved(open: boolean): void;
  pread(offset: number, length: number): Promise<Buffer>;
  /** The data belongs to the callee until the promise settles. */
  pwrite(offset: number, data: Uint8Array, options?: { fua?: boolean }): Promise<void>;
  flush(): Promise<void>;
  discard(offset: number, length: number): Promise<void>;
  writeZeroes(offset: number, length: number): Promise<void>;
  /** The user has changed the length. One listener. */
  onResize(listener: () => void): void;
  /** Resolves when nothing is in flight; what waits for its budget goes. */
  drain(): Promise<void>;
  /**
   * A guest's request failed. werror or rerror decides: report the error, ignore it, or keep the
   * request and stop the VM.
   */
  errorAction(operation: 'read' | 'write', error: unknown): ErrorAction;
}

export const errorPolicies = ['report', 'ignore', 'enospc', 'stop'] as const;
/** What a failed read or write does. enospc: stop when there is no space, otherwise report. */
export type ErrorPolicy = (typeof errorPolicies)[number];
/** QEMU's BlockErrorAction. */
export type ErrorAction = Exclude<ErrorPolicy, 'enospc'>;

export type IoStatus = 'ok' | 'failed' | 'nospace';

/** What a guest device says of its disk; what it leaves out is as the drive has it. */
export interface DiskProperties {
  readonly werror?: ErrorPolicy;
  readonly rerror?: ErrorAction;
  /** false: every write is on the medium before the guest hears of it. */
  readonly writeCache?: boolean;
  /** The device lives with a drive that is empty. */
  readonly removable?: boolean;
}

/**
 * writeback: flush and FUA reach the disk; writethrough: every write is FUA; unsafe: flush and FUA
 * are ignored.
 */
export type CacheMode = 'writeback' | 'writethrough' | 'unsafe';
export const defaultErrors = { write: 'enospc', read: 'report' } as const;
