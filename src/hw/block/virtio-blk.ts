/**
 * Virtio block device (virtio 1.1, section 5.2): one queue, requests answered as the backend
 * settles them. The cache is write-back; a driver without FLUSH gets every write through to the
 * medium. A request that the backend wants to keep waits in the state. In one turn of the main loop
 * it begins no more than VIRTIO_TURN; what is in flight is answered.
 */
import { AssertionError, asVmError, VmError } from '../../base/errors.js';
import { event, tracer } from '../../base/trace.js';
import { lowBytes } from '../../base/unsigned.js';
import type { BlockBackend } from '../../block/contract/backend.js';
import { counted, record, since, u16, u32 } from '../../fields/field.js';
import { outside, OutsideError } from '../contain.js';
import { Turn, VIRTIO_TURN } from '../turn.js';
import type { Chain } from '../virtio/chain.js';
import { type VirtioHost, VirtioModel } from '../virtio/model.js';
import { MAX_QUEUE_SIZE, type Virtqueue } from '../virtio/virtqueue.js';

const trace = tracer('virtio_blk', {
  request: event<{ id: string; type: number; sector: bigint; size: number }>(),
  complete: event<{ id: string; status: number }>(),
  error: event<{ id: string; type: number; message: string; action: string }>(),
});

const F = { SEG_MAX: 2, RO: 5, BLK_SIZE: 6, FLUSH: 9, DISCARD: 13, WRITE_ZEROES: 14 } as const;
const Type = { IN: 0, OUT: 1, FLUSH: 4, GET_ID: 8, DISCARD: 11, WRITE_ZEROES: 13 } as const;
const Status = { OK: 0, IOERR: 1, UNSUPP: 2 } as const;
const SECTOR = 512;
const HEADER = 16;
const SEGMENT = 16;
const ID_LENGTH = 20;
const UNMAP = 1;
/** One request's data, and all of those in flight: bounds of our own memory. */
const MAX_REQUEST = 32 << 20;
const MAX_IN_FLIGHT_BYTES = 64 << 20;
/**
 * One discard or write-zeroes: 128 MiB in one piece. That much is a few milliseconds of a host's
 * file system, and a stop waits for no more than the one under way; a guest that wants more asks
 * again, between which a checkpoint finds its place.
 */
const MAX_RANGE_SECTORS = (128 << 20) / SECTOR;
const MAX_RANGE_SEGMENTS = 1;
const CONFIG_SIZE = 60;

export const blkState = record({
  /** Requests answered, for `info qtree`. */
  completed: u32,
  /**
   * Heads of requests that failed and wait for the VM to run again, here or where its state goes;
   * nothing else outlives a pause.
   */
  parked: since(2, counted(u16, MAX_QUEUE_SIZE)),
});
type BlkState = ReturnType<typeof blkState.reset>;

export class VirtioBlk extends VirtioModel<BlkState> {
  readonly name = 'virtio-blk';
  readonly deviceId = 2;
  readonly classCode = 0x010000;
  readonly queueCount = 1;
  readonly stateField = blkState;
  override readonly stateVersion = 2;
  readonly features: readonly number[];
  private readonly traceId: string;
  private readonly requests = new Set<Promise<void>>();
  private bytesInFlight = 0;
  /** Requests of an older generation have lost their rings. */
  private generation = 0;
  private readonly turn = new Turn(
    VIRTIO_TURN,
    fn => this.host.soon(fn),
    () => this.goOn(),
  );
  /**
   * How many of the parked requests are to be tried again; those that fail again come behind them.
   */
  private retries = 0;
  /** The capacity changed while the VM was stopped: the driver is interrupted when it runs. */
  private resized = false;

  constructor(
    readonly backend: BlockBackend,
    private readonly serial: string,
  ) {
    super();
    this.traceId = backend.id || backend.nodeName;
    this.features = [
      F.SEG_MAX,
      F.BLK_SIZE,
      F.FLUSH,
      ...(backend.readOnly ? [F.RO] : [F.DISCARD, F.WRITE_ZEROES]),
    ];
  }

  readConfig(): Buffer {
    const b = Buffer.alloc(CONFIG_SIZE);
    b.writeBigUInt64LE(BigInt(Math.floor(this.backend.length / SECTOR)), 0);
    b.writeUInt32LE(MAX_QUEUE_SIZE - 2, 12);
    b.writeUInt32LE(SECTOR, 20);
    b.writeUInt16LE(1, 34);
    if (!this.backend.readOnly) {
      b.writeUInt32LE(MAX_RANGE_SECTORS, 36);
      b.writeUInt32LE(MAX_RANGE_SEGMENTS, 40);
      b.writeUInt32LE(1, 44);
      b.writeUInt32LE(MAX_RANGE_SECTORS, 48);
      b.writeUInt32LE(MAX_RANGE_SEGMENTS, 52);
      b[56] = 1;
    }
    return b;
  }

  override get inFlight(): number {
    return this.requests.size;
  }

  override deviceReset(): void {
    this.turn.end();
    this.generation++;
    this.retries = 0;
  }

  override connect(host: VirtioHost<BlkState>): void {
    super.connect(host);
    const resized = host.guarded(() => {
      if (host.running) host.configChanged();
      else this.resized = true;
    });
    this.backend.onResize(resized);
  }

  override resume(): void {
    if (this.resized) this.host.configChanged();
    this.resized = false;
    this.retries = this.state.parked.length;
  }

  override async pause(): Promise<void> {
    this.turn.end();
    void outside(() => this.backend.drain());
    while (this.requests.size > 0) await Promise.all(this.requests);
  }

  handleQueue(queue: Virtqueue): void {
    queue.disableNotify();
    do {
      while (this.hasRoom) {
        const chain = this.retries > 0 ? this.reopen(queue) : queue.pop();
        if (!chain) break;
        this.start(queue, chain);
        if (!this.host.running) return;
      }
    } while (this.hasRoom && queue.enableNotify());
    this.host.checkFault(queue);
  }

  private reopen(queue: Virtqueue): Chain | undefined {
    this.retries--;
    return queue.reopen(this.state.parked.shift()!);
  }

  /**
   * A driver may offer a chain again before it got it back, so the ring's size alone bounds
   * nothing. What waits is taken up by complete().
   */
  private get hasRoom(): boolean {
    const failedAgain = this.state.parked.length - this.retries;
    const room = this.requests.size + failedAgain < MAX_QUEUE_SIZE;
    return room && this.bytesInFlight < MAX_IN_FLIGHT_BYTES && this.turn.open;
  }

  /**
   * The request's status byte is the last writable one; a chain without room for it breaks the
   * protocol.
   */
  private start(queue: Virtqueue, chain: Chain): void {
    if (chain.readLength < HEADER || chain.writeLength < 1)
      return this.host.fail('request without header or status');
    const header = chain.read(this.host.ram, 0, HEADER);
    const type = header.readUInt32LE(0);
    const sector = header.readBigUInt64LE(8);
    const size = Math.max(chain.readLength - HEADER, chain.writeLength - 1);
    trace.request?.({ id: this.traceId, type, sector, size });
    this.turn.spend(chain.descriptors, size);
    const { generation } = this;
    this.bytesInFlight += size;
    const settled = this.host.guarded((result: Result | 'parked') => {
      if (generation !== this.generation) return;
      if (result === 'parked') this.state.parked.push(chain.head);
      else this.complete(queue, chain, result);
    });
    const request = this.execute(type, sector, chain)
      .catch((error: unknown) => this.host.contain(() => this.failed(type, error), undefined))
      .finally(() => {
        this.requests.delete(request);
        this.bytesInFlight -= size;
      })
      .then(result => void (result && settled(result)));
    this.requests.add(request);
  }

  /** In the next turn, with what was left lying. */
  private goOn(): void {
    const [queue] = this.host.queues;
    if (this.host.running && queue.usable) this.handleQueue(queue);
  }

  private complete(queue: Virtqueue, chain: Chain, { status, data }: Result): void {
    const { ram } = this.host;
    if (data) chain.write(ram, 0, data);
    chain.write(ram, chain.writeLength - 1, Uint8Array.of(status));
    trace.complete?.({ id: this.traceId, status });
    this.state.completed = lowBytes(this.state.completed + 1, 4);
    queue.push(chain, (data?.length ?? 0) + 1);
    this.host.returned(queue);
    // Room again, and perhaps requests that were left lying for want of it.
    if (this.host.running && queue.usable && (this.retries > 0 || queue.pending > 0))
      this.handleQueue(queue);
  }

  /**
   * The backend decides what follows an error. A parked request keeps its place in the ring, and
   * its status is not written.
   */
  private failed(type: number, thrown: unknown): Result | 'parked' {
    if (!(thrown instanceof VmError)) throw thrown; // not the disk's: the device's own
    const error = thrown;
    const action = this.backend.errorAction(type === Type.IN ? 'read' : 'write', error);
    trace.error?.({ id: this.traceId, type, message: error.message, action });
    if (action === 'stop') return 'parked';
    return { status: action === 'ignore' ? Status.OK : Status.IOERR };
  }

  private async execute(type: number, sector: bigint, chain: Chain): Promise<Result> {
    switch (type) {
      case Type.IN:
        return this.read(sector, chain);
      case Type.OUT:
        return this.write(sector, chain);
      case Type.FLUSH:
        await ask(() => this.backend.flush());
        return { status: Status.OK };
      case Type.GET_ID:
        return { status: Status.OK, data: this.id().subarray(0, chain.writeLength - 1) };
      case Type.DISCARD:
      case Type.WRITE_ZEROES:
        return this.ranges(type, chain);
      default:
        return { status: Status.UNSUPP };
    }
  }

  private async read(sector: bigint, chain: Chain): Promise<Result> {
    const length = chain.writeLength - 1;
    const offset = this.offset(sector, length);
    if (offset === undefined) return { status: Status.IOERR };
    return { status: Status.OK, data: await ask(() => this.backend.pread(offset, length)) };
  }

  /** The data is copied before the backend sees it: the guest may change its buffer at any time. */
  private async write(sector: bigint, chain: Chain): Promise<Result> {
    const length = chain.readLength - HEADER;
    const offset = this.offset(sector, length);
    if (offset === undefined || this.backend.readOnly) return { status: Status.IOERR };
    const data = chain.read(this.host.ram, HEADER, length);
    await ask(() => this.backend.pwrite(offset, data, { fua: !this.host.has(F.FLUSH) }));
    return { status: Status.OK };
  }

  /**
   * Section 5.2.6.2: reserved flags, or unmap on a discard, are unsupported; a range beyond the end
   * is an error.
   */
  private async ranges(type: number, chain: Chain): Promise<Result> {
    const zeroes = type === Type.WRITE_ZEROES;
    if (this.backend.readOnly || !this.host.has(zeroes ? F.WRITE_ZEROES : F.DISCARD))
      return { status: Status.UNSUPP };
    const size = chain.readLength - HEADER;
    if (size === 0 || size % SEGMENT !== 0 || size > SEGMENT * MAX_RANGE_SEGMENTS)
      return { status: Status.IOERR };
    const list = chain.read(this.host.ram, HEADER, size);
    for (let at = 0; at < size; at += SEGMENT) {
      const sectors = list.readUInt32LE(at + 8);
      const flags = list.readUInt32LE(at + 12);
      if ((flags & ~UNMAP) !== 0 || (!zeroes && flags !== 0)) return { status: Status.UNSUPP };
      const offset = this.range(list.readBigUInt64LE(at), sectors);
      if (offset === undefined) return { status: Status.IOERR };
      const bytes = sectors * SECTOR;
      await ask(() =>
        zeroes ? this.backend.writeZeroes(offset, bytes) : this.backend.discard(offset, bytes),
      );
    }
    return { status: Status.OK };
  }

  private range(sector: bigint, sectors: number): number | undefined {
    return sectors === 0 || sectors > MAX_RANGE_SECTORS
      ? undefined
      : this.inside(sector, sectors * SECTOR);
  }

  private offset(sector: bigint, length: number): number | undefined {
    return length === 0 || length % SECTOR !== 0 || length > MAX_REQUEST
      ? undefined
      : this.inside(sector, length);
  }

  /** Byte offset, or undefined if the range leaves the disk. */
  private inside(sector: bigint, length: number): number | undefined {
    const end = sector * BigInt(SECTOR) + BigInt(length);
    const size = BigInt(this.backend.length - (this.backend.length % SECTOR));
    return end <= size ? Number(end) - length : undefined;
  }

  private id(): Buffer {
    const b = Buffer.alloc(ID_LENGTH);
    b.write(this.serial, 'latin1');
    return b;
  }
}

interface Result {
  status: number;
  data?: Buffer;
}

/**
 * Whatever the disk fails with is the failure of a request; only an assertion of the block layer is
 * not.
 */
async function ask<T>(call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    if (error instanceof AssertionError) throw new OutsideError(error.message, { cause: error });
    throw asVmError(error);
  }
}
