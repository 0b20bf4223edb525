/**
 * The guest's end of a disk, and that of an NBD export: an id over the root node. Counts requests
 * in flight, makes unaligned requests whole sectors, applies the cache mode and the throttle,
 * decides what an error does to the guest.
 */
import { VmError, asVmError } from '../../base/errors.js';
import type { Clock } from '../../host/ports.js';
import type { Events } from '../../base/events.js';
import type { QmpEvents } from '../../qapi/types.js';
import { Accounting, type RequestKind } from './accounting.js';
import {
  type BlockBackend,
  type CacheMode,
  defaultErrors,
  type DiskProperties,
  type ErrorAction,
  type ErrorPolicy,
  type IoStatus,
  type MediumTray,
} from '../contract/backend.js';
import { SECTOR } from '../contract/driver.js';
import { ioCode, ioError } from '../contract/io-error.js';
import type { BlockNode } from '../contract/node.js';
import { RangeLock } from '../../base/range-lock.js';
import type { Throttle } from './throttle.js';

export interface BackendOptions {
  readOnly: boolean;
  cache: CacheMode;
  /** werror and rerror; for a backend that a guest device takes. */
  errors?: { write: ErrorPolicy; read: ErrorAction };
  /** The VM stops in the state io-error. */
  stopVm?: () => void;
  events?: Events<QmpEvents>;
  /** Without one, times are not measured. */
  clock?: Clock;
  /** It may be empty, and its medium changes. */
  removable?: boolean;
}

/**
 * Discards and zeroes under way at once, in bytes; a longer one goes alone. The rest waits, and is
 * parked when the guest is to stop.
 */
const RANGE_BYTES = 128 * 1024 * 1024;

/** Not done, and nothing wrong: the device keeps the request until it runs again. */
class Parked extends VmError {
  constructor() {
    super('the guest stops: the request waits until it runs again');
  }
}

export class DriveBackend implements BlockBackend {
  private root?: BlockNode;
  private deleted = false;
  private running = 0;
  private readonly idle: (() => void)[] = [];
  private drains = 0;
  private rangeBytes = 0;
  private readonly rangesWaiting: (() => void)[] = [];
  /** Whole-sector requests share; a read-modify-write of part of a sector is alone. */
  private readonly lock = new RangeLock();
  private release?: () => void;
  private device?: string;
  private status: IoStatus = 'ok';
  private resizeListener: () => void = () => undefined;
  readonly stats: Accounting;
  /** Requests that wait already keep to the one they came under. */
  throttle?: Throttle;
  /** Of the device in front, if it has one. */
  tray?: MediumTray;

  /** id: '' for the disk of a device that names a node. root: undefined where it is empty. */
  constructor(
    readonly id: string,
    root: BlockNode | undefined,
    private config: BackendOptions,
  ) {
    this.root = root;
    this.stats = new Accounting(config.clock);
  }

  get options(): Readonly<BackendOptions> {
    return this.config;
  }

  /** For messages. */
  get label(): string {
    return this.id === '' ? `device '${this.device}'` : `drive '${this.id}'`;
  }

  get node(): BlockNode {
    if (this.root) return this.root;
    throw ioError('EIO', `${this.label} ${this.deleted ? 'has been deleted' : 'has no medium'}`);
  }

  get nodeName(): string {
    return this.root?.name ?? '';
  }

  get length(): number {
    return this.root?.length ?? 0;
  }

  get hasMedium(): boolean {
    return this.root !== undefined;
  }

  get removable(): boolean {
    return this.options.removable ?? false;
  }

  get readOnly(): boolean {
    return this.options.readOnly || (this.root?.readOnly ?? true);
  }

  /** The guest device in front, if one has claimed the drive. */
  get attachedDevice(): string | undefined {
    return this.device;
  }

  get inFlight(): number {
    return this.running;
  }

  /**
   * A guest device takes the drive: it becomes the node's writer. The layer has checked that the
   * disk may boot. A medium that can be removed is never written to.
   */
  claim(device: string, { werror, rerror, writeCache, removable }: DiskProperties = {}): void {
    if (this.device !== undefined)
      throw new VmError(`${this.label} is already in use by device '${this.device}'`);
    const { errors = defaultErrors, cache } = this.config;
    this.device = device;
    try {
      const root = removable ? this.root : this.node;
      this.release = root?.attach({ label: this.label, write: !removable && !this.readOnly });
    } catch (error) {
      this.device = undefined;
      throw error;
    }
    this.config = {
      ...this.config,
      errors: { write: werror ?? errors.write, read: rerror ?? errors.read },
      cache: cacheOf(cache, writeCache),
      ...(removable && { removable, readOnly: true }),
    };
  }

  useTray(tray: MediumTray): void {
    this.tray = tray;
  }

  trayMoved(open: boolean): void {
    const { id, device = '' } = this;
    this.options.events?.emit('DEVICE_TRAY_MOVED', { device: id, id: device, 'tray-open': open });
  }

  /** What is asked for afterwards fails, until there is another. */
  takeMedium(): BlockNode | undefined {
    const { root } = this;
    this.release?.();
    this.release = undefined;
    this.root = undefined;
    return root;
  }

  insertMedium(root: BlockNode): void {
    this.release = root.attach({ label: this.label, write: false });
    this.root = root;
  }

  /** drive_del: what the guest asks for afterwards fails. */
  detach(): BlockNode | undefined {
    this.deleted = true;
    return this.takeMedium();
  }

  /** A job has put another node in this one's place, with the same content. */
  setRoot(root: BlockNode): void {
    this.release?.();
    this.release =
      this.device === undefined
        ? undefined
        : root.attach({ label: this.label, write: !this.options.readOnly && !root.readOnly });
    this.root = root;
  }

  pread(offset: number, length: number): Promise<Buffer> {
    return this.request('read', offset, length, async () => {
      const start = offset - (offset % SECTOR);
      const end = Math.ceil((offset + length) / SECTOR) * SECTOR;
      if (start === offset && end === offset + length) return this.node.pread(offset, length);
      const whole = await this.node.pread(start, end - start);
      return whole.subarray(offset - start, offset - start + length);
    });
  }

  pwrite(offset: number, data: Uint8Array, options: { fua?: boolean } = {}): Promise<void> {
    const fua =
      this.options.cache === 'writethrough' ||
      (options.fua === true && this.options.cache !== 'unsafe');
    return this.change('write', offset, data.length, async (start, end, partial) => {
      if (!partial) return this.node.pwrite(offset, data, fua);
      const whole = await this.node.pread(start, end - start);
      whole.set(data, offset - start);
      await this.node.pwrite(start, whole, fua);
    });
  }

  flush(): Promise<void> {
    return this.request('flush', 0, 0, async () => {
      if (this.options.cache !== 'unsafe') await this.node.flush();
    });
  }

  /** Part of a sector is left as it is: a discard is a hint. */
  discard(offset: number, length: number): Promise<void> {
    const start = Math.ceil(offset / SECTOR) * SECTOR;
    const end = offset + length - ((offset + length) % SECTOR);
    return this.change('unmap', offset, length, () =>
      this.range(length, async () => {
        if (end > start) await this.node.discard(start, end - start);
        if (this.options.cache === 'writethrough') await this.node.flush();
      }),
    );
  }

  writeZeroes(offset: number, length: number): Promise<void> {
    return this.change('write', offset, length, (start, end, partial) =>
      this.range(length, async () => {
        if (partial) {
          const whole = await this.node.pread(start, end - start);
          whole.fill(0, offset - start, offset - start + length);
          await this.node.pwrite(start, whole);
        } else await this.node.writeZeroes(offset, length);
        if (this.options.cache === 'writethrough') await this.node.flush();
      }),
    );
  }

  /**
   * What a guest asks for in a few bytes may be hours of work, and a stop waits for what has begun:
   * one piece at a time.
   */
  private async range(length: number, body: () => Promise<void>): Promise<void> {
    while (this.drains === 0 && this.rangeBytes > 0 && this.rangeBytes + length > RANGE_BYTES) {
      await new Promise<void>(go => this.rangesWaiting.push(go));
    }
    if (this.drains > 0 && this.rangeBytes > 0) throw new Parked();
    this.rangeBytes += length;
    try {
      await body();
    } finally {
      this.rangeBytes -= length;
      for (const go of this.rangesWaiting.splice(0)) go();
    }
  }

  errorAction(operation: 'read' | 'write', error: unknown): ErrorAction {
    if (error instanceof Parked && this.root) return 'stop';
    const { errors = defaultErrors, stopVm, events } = this.options;
    const nospace = ioCode(error) === 'ENOSPC';
    // The drive is deleted, so its failed requests could never succeed.
    const policy = this.root ? errors[operation] : 'report';
    const wanted = policy === 'enospc' ? (nospace ? 'stop' : 'report') : policy;
    // Without a way to stop the VM the guest must get the error.
    const action = wanted === 'stop' && !stopVm ? 'report' : wanted;
    events?.emit('BLOCK_IO_ERROR', {
      device: this.id,
      'node-name': this.nodeName,
      operation,
      action,
      nospace,
      reason: asVmError(error).message,
    });
    if (action === 'stop') {
      this.status = nospace ? 'nospace' : 'failed';
      stopVm!();
    }
    return action;
  }

  /** Of the last request that stopped the VM, until it runs again. */
  get ioStatus(): IoStatus {
    return this.status;
  }

  resetIoStatus(): void {
    this.status = 'ok';
  }

  onResize(listener: () => void): void {
    this.resizeListener = listener;
  }

  resized(): void {
    this.resizeListener();
  }

  /**
   * Resolves when nothing is in flight; nothing waits for its budget, or for a replica, meanwhile.
   * The caller has stopped whoever sends requests.
   */
  async drain(): Promise<void> {
    const limited = this.throttle?.open();
    const kept = this.root?.drainBegin();
    this.drains++;
    for (const go of this.rangesWaiting.splice(0)) go();
    while (this.running > 0) await new Promise<void>(resolve => this.idle.push(resolve));
    this.drains--;
    kept?.();
    limited?.();
  }

  private change(
    kind: 'write' | 'unmap',
    offset: number,
    length: number,
    write: (start: number, end: number, partial: boolean) => Promise<void>,
  ): Promise<void> {
    return this.request(kind, offset, length, async () => {
      if (this.root && this.readOnly) throw ioError('EPERM', `${this.label} is read-only`);
      const start = offset - (offset % SECTOR);
      const end = Math.ceil((offset + length) / SECTOR) * SECTOR;
      const partial = start !== offset || end !== offset + length;
      return this.lock.run(start, end - start, partial ? 'exclusive' : 'shared', () =>
        write(start, end, partial),
      );
    });
  }

  private async request<T>(
    kind: RequestKind,
    offset: number,
    length: number,
    body: () => Promise<T>,
  ): Promise<T> {
    this.running++;
    const started = this.stats.now();
    try {
      if (this.throttle && length > 0)
        await this.throttle.admit(kind === 'read' ? 'read' : 'write', length);
      if (offset + length > this.length && this.root) {
        this.stats.invalid(kind);
        throw ioError(
          'EINVAL',
          `${this.label}: ${length} bytes at ${offset} reach beyond its end, ${this.length}`,
        );
      }
      const result = await body().catch((error: unknown) => {
        if (!(error instanceof Parked)) this.stats.failed(kind, started);
        throw error;
      });
      this.stats.done(kind, offset, length, started);
      return result;
    } finally {
      if (--this.running === 0) for (const resolve of this.idle.splice(0)) resolve();
    }
  }
}

/** An unsafe drive has a write cache that is never emptied. */
function cacheOf(drive: CacheMode, writeCache: boolean | undefined): CacheMode {
  if (writeCache === undefined || writeCache === (drive !== 'writethrough')) return drive;
  return writeCache ? 'writeback' : 'writethrough';
}
