/**
 * The devices of a simulated machine, by the rules of src/hw/device.ts: a disk with one request, a
 * nic, a power button, and one that tells the oracle of each state that is saved and parsed.
 */
import type { BlockBackend } from '../../src/block/contract/backend.js';
import { blob, bool, u32, u8 } from '../../src/fields/field.js';
import { vmstate, type VmState } from '../../src/fields/vmstate.js';
import { Device, type StateOf } from '../../src/hw/device.js';
import type { Netdev } from '../../src/net/contract.js';
import { type DiskModel, sectorBytes, writeSectors } from './model.js';

export const Op = { NONE: 0, WRITE: 1, ZEROES: 2, FLUSH: 3, READ: 4, DISCARD: 5 } as const;

const blkState = vmstate('sim-blk', 1, {
  op: u8,
  sector: u32,
  count: u32,
  id: u32,
  parked: bool,
  done: u32,
});
type BlkState = StateOf<typeof blkState>;

export interface BlkHost {
  /** The request is over: a device writes RAM now. */
  completed(id: number, failed: boolean): void;
  wrong(what: string): void;
}

/** One request at a time. What the backend wants to keep is tried again when the machine runs. */
export class SimBlk extends Device<BlkState> {
  readonly vmstate = blkState;
  state = blkState.reset();
  private request: Promise<void> = Promise.resolve();
  /** Requests of an older one have nobody to answer to. */
  private generation = 0;
  private paused = true;

  constructor(
    id: string,
    readonly backend: BlockBackend,
    /** What the medium must hold by what this guest was told. */
    readonly model: DiskModel,
    private readonly host: BlkHost,
  ) {
    super(id);
  }

  override reset(): void {
    this.generation++;
    if (this.state.op !== Op.NONE) this.model.unknown(this.state.sector, this.state.count);
    super.reset();
  }

  get idle(): boolean {
    return this.state.op === Op.NONE;
  }

  submit(request: Pick<BlkState, 'op' | 'sector' | 'count' | 'id'>): void {
    Object.assign(this.state, request);
    this.start();
  }

  override async pause(): Promise<void> {
    void this.backend.drain();
    await this.request;
    this.paused = true;
  }

  override resume(): void {
    this.paused = false;
    if (!this.state.parked) return;
    this.state.parked = false;
    this.start();
  }

  private start(): void {
    const { generation } = this;
    const { op, sector, count } = this.state;
    const changes = op === Op.WRITE || op === Op.ZEROES || op === Op.DISCARD;
    if (changes) this.model.unknown(sector, count);
    this.request = this.execute().then(
      () => this.over(generation, false),
      (error: unknown) => this.failed(generation, error),
    );
  }

  private async execute(): Promise<void> {
    const { op, sector, count, id } = this.state;
    const offset = sector * sectorBytes;
    const length = count * sectorBytes;
    switch (op) {
      case Op.WRITE:
        return this.backend.pwrite(offset, writeSectors(id, sector, count));
      case Op.ZEROES:
        return this.backend.writeZeroes(offset, length);
      case Op.DISCARD:
        return this.backend.discard(offset, length);
      case Op.FLUSH:
        return this.backend.flush();
      default: {
        const data = await this.backend.pread(offset, length);
        const wrong = this.model.differs(data, sector, count);
        if (wrong) this.host.wrong(`${this.id} reads ${wrong}`);
      }
    }
  }

  private failed(generation: number, error: unknown): void {
    if (generation !== this.generation) return;
    const action = this.backend.errorAction(this.state.op === Op.READ ? 'read' : 'write', error);
    if (action === 'stop') this.state.parked = true;
    else this.over(generation, action === 'report');
  }

  private over(generation: number, failed: boolean): void {
    if (generation !== this.generation) return;
    if (this.paused)
      this.host.wrong(`${this.id} completes a request while the machine stands still`);
    const { op, sector, count, id } = this.state;
    if (!failed && op === Op.WRITE) this.model.wrote(sector, count, id);
    if (!failed && (op === Op.ZEROES || op === Op.DISCARD)) this.model.wrote(sector, count, 0);
    if (!failed && op === Op.FLUSH) this.model.flushed();
    this.state.op = Op.NONE;
    this.state.done++;
    this.host.completed(id, failed);
  }
}

const nicState = vmstate('sim-nic', 1, { received: u32 });

/** Frames wait in RAM until the netdev takes them; what arrives goes there at once. */
export class SimNic extends Device<StateOf<typeof nicState>> {
  readonly vmstate = nicState;
  state = nicState.reset();
  private paused = true;

  constructor(
    id: string,
    private readonly netdev: Netdev,
    private readonly host: { room(): void; receive(frame: Uint8Array): void },
  ) {
    super(id);
    netdev.attachNic({
      mac: Uint8Array.of(0x52, 0x54, 0, 0, 0, 1),
      receive: f => this.receive(f),
      announce: () => undefined,
    });
    netdev.onRoom(() => {
      if (!this.paused) this.host.room();
    });
  }

  override async pause(): Promise<void> {
    this.paused = true;
    this.netdev.setRunning(false);
  }

  override resume(): void {
    this.paused = false;
    this.netdev.setRunning(true);
  }

  /** False: no room now. */
  send(frame: Uint8Array): boolean {
    return this.netdev.send(frame);
  }

  private receive(frame: Uint8Array): boolean {
    if (this.paused) return false;
    this.state.received++;
    this.host.receive(frame);
    return true;
  }
}

const buttonState = vmstate('sim-button', 1, { pressed: bool });

export class SimButton extends Device<StateOf<typeof buttonState>> {
  readonly vmstate = buttonState;
  state = buttonState.reset();

  /** True: the guest listens. */
  pressPowerButton(): boolean {
    this.state.pressed = true;
    return true;
  }
}

const ballastState = vmstate('sim-ballast', 1, { data: blob(1 << 20) });

/** State that is more than a connection takes at once: to send it is to wait for the peer. */
export class SimBallast extends Device<StateOf<typeof ballastState>> {
  readonly vmstate = ballastState;
  state = ballastState.reset();

  constructor(
    id: string,
    private readonly bytes: number,
  ) {
    super(id);
  }

  override afterLoad(): void {
    if (this.state.data.length === 0) this.state.data = Buffer.alloc(this.bytes, 7);
  }
}

/** First in order: it sees the machine as the others are about to save it. */
export class SimProbe extends Device<{ serial: number }> {
  readonly vmstate: VmState<{ serial: number }>;
  state: { serial: number };

  constructor(
    private readonly saved: () => number,
    parsed: (serial: number) => void,
  ) {
    super('probe');
    this.vmstate = vmstate('sim-probe', 1, { serial: u32 }, state => parsed(state.serial));
    this.state = this.vmstate.reset();
  }

  override beforeSave(): void {
    this.state.serial = this.saved();
  }
}
