/**
 * Modern virtio over PCI (virtio 1.1, section 4.1): one function per model, registers in BAR 0,
 * MSI-X in BAR 1, or INTx. No legacy interface.
 */
import type { Disposable } from '../../base/disposable.js';
import { event, tracer } from '../../base/trace.js';
import { lowBytes } from '../../base/unsigned.js';
import type { GuestMemory, VmAccel } from '../../accel/contract.js';
import { ContainedMmio, outside, OutsideError } from '../contain.js';
import { CAPABILITY_ID, ConfigLayout } from '../pci/config-space.js';
import { type Bar, PciFunction } from '../pci/function.js';
import { Msix, NO_VECTOR } from '../pci/msix.js';
import {
  capabilityBody,
  CapType,
  Common,
  DeviceStatus,
  Isr,
  NOTIFY_MULTIPLIER,
  Window,
} from './common-config.js';
import { VirtioFeature, type VirtioHost, type VirtioModel } from './model.js';
import type { GuestClock } from '../wiring.js';
import { half, type VirtioPciState, virtioPciState, withHalf } from './virtio-pci-state.js';
import { validQueueSize, Virtqueue } from './virtqueue.js';

const trace = tracer('virtio', {
  needs_reset: event<{ id: string; why: string }>(),
  set_status: event<{ id: string; value: number }>(),
  queue_enable: event<{ id: string; index: number; size: number }>(),
});
const VENDOR = 0x1af4;
const MODERN_DEVICE = 0x1040;
const REGISTERS_BAR = 0;
const MSIX_BAR = 1;
/** Offset in the PCI configuration capability of its data bytes. */
const PCI_CFG_DATA = 16;

type Accel = Pick<VmAccel, 'signalMsi' | 'addDoorbell'> & { readonly ram: GuestMemory };

const featureBits = (bits: readonly number[]) =>
  bits.reduce((mask, bit) => mask | (1n << BigInt(bit)), 0n);

export class VirtioPci<S = unknown>
  extends PciFunction<VirtioPciState<S>>
  implements VirtioHost<S>
{
  readonly vmstate;
  state: VirtioPciState<S>;
  readonly description: string;
  readonly layout: ConfigLayout;
  readonly bars: readonly Bar[];
  readonly queues: readonly Virtqueue[];
  private readonly offered: bigint;
  private readonly msix: Msix;
  private readonly pciCfg: number;
  private readonly doorbells: (Disposable | undefined)[] = [];
  private registersAt: number | undefined;
  private paused = true;

  constructor(
    id: string,
    private readonly accel: Accel,
    readonly model: VirtioModel<S>,
    private readonly clock: Pick<GuestClock, 'soon'>,
  ) {
    super(id);
    this.offered = featureBits([
      ...model.features,
      VirtioFeature.VERSION_1,
      VirtioFeature.INDIRECT_DESC,
      VirtioFeature.EVENT_IDX,
    ]);
    this.vmstate = virtioPciState(
      `${model.name}-pci`,
      model.queueCount,
      this.offered,
      model.stateField,
      model.stateVersion,
    );
    this.state = this.vmstate.reset();
    this.description = model.name;
    this.layout = new ConfigLayout({
      vendor: VENDOR,
      device: MODERN_DEVICE + model.deviceId,
      revision: 1,
      classCode: model.classCode,
      subsystemVendor: VENDOR,
      subsystem: MODERN_DEVICE + model.deviceId,
      interruptPin: 1,
    });
    this.layout.memoryBar(REGISTERS_BAR, Window.SIZE);
    this.msix = new Msix(model.queueCount + 1, this.layout, MSIX_BAR, () => this.state, accel);
    this.pciCfg = this.addCapabilities();
    this.bars = [
      {
        index: REGISTERS_BAR,
        size: Window.SIZE,
        name: `${id} registers`,
        handler: new ContainedMmio(this, this),
      },
      {
        index: MSIX_BAR,
        size: 0x1000,
        name: `${id} msix`,
        handler: new ContainedMmio(this, this.msix),
      },
    ];
    this.queues = this.state.queues.map((q, index) => new Virtqueue(accel.ram, index, q));
    model.connect(this);
    this.reset();
  }

  private addCapabilities(): number {
    const vendor = (type: number, offset: number, length: number, extra?: number[]) =>
      this.layout.capability(
        CAPABILITY_ID.VENDOR,
        capabilityBody(type, REGISTERS_BAR, offset, length, extra),
      );
    vendor(CapType.COMMON, Window.COMMON, Common.SIZE);
    vendor(CapType.NOTIFY, Window.NOTIFY, NOTIFY_MULTIPLIER * this.model.queueCount, [
      NOTIFY_MULTIPLIER,
      0,
      0,
      0,
    ]);
    vendor(CapType.ISR, Window.ISR, 1);
    vendor(CapType.DEVICE, Window.DEVICE, Window.EACH);
    const mask = Buffer.alloc(18, 0xff);
    mask.fill(0, 0, 2).fill(0, 3, 6);
    return this.layout.capability(
      CAPABILITY_ID.VENDOR,
      capabilityBody(CapType.PCI, 0, 0, 0, [0, 0, 0, 0]),
      mask,
    );
  }

  // --- Device

  override reset(): void {
    super.reset();
    this.model.deviceReset();
  }

  override afterLoad(): void {
    this.bindQueues();
    super.afterLoad();
    this.setIntx(this.state.isr !== 0);
    this.dropDoorbells();
    this.syncDoorbells();
  }

  override async pause(): Promise<void> {
    this.paused = true;
    await this.model.pause();
  }

  override resume(): void {
    if (!this.paused) return;
    this.paused = false;
    this.model.resume();
    this.pollAll();
  }

  /**
   * Its registers go on: the driver learns from them that a reset is needed, and resets it there.
   */
  override get silent(): boolean {
    return false;
  }

  /** The driver sees it as it sees a fault of its own (section 2.1.2). */
  protected override whenBroken(): void {
    try {
      this.fail('the device failed');
    } catch (error) {
      if (error instanceof OutsideError) throw error;
      this.state.status |= DeviceStatus.NEEDS_RESET; // what failed was the interrupt
    }
  }

  override setFailure(why: string | undefined): void {
    super.setFailure(why);
    if (why !== undefined) this.state.status |= DeviceStatus.NEEDS_RESET;
  }

  // --- VirtioHost

  soon(fn: () => void): { dispose(): void } {
    return this.clock.soon(this.guarded(fn));
  }

  get ram(): GuestMemory {
    return this.accel.ram;
  }

  get modelState(): S {
    return this.state.model;
  }

  get running(): boolean {
    const { status } = this.state;
    return (
      !this.paused &&
      this.failure === undefined &&
      (status & DeviceStatus.DRIVER_OK) !== 0 &&
      (status & DeviceStatus.NEEDS_RESET) === 0 &&
      this.busMaster
    );
  }

  has(feature: number): boolean {
    return (this.state.driverFeatures & (1n << BigInt(feature))) !== 0n;
  }

  returned(queue: Virtqueue): void {
    if (queue.wantsInterrupt()) this.interrupt(queue.state.vector, Isr.QUEUE);
  }

  checkFault(queue: Virtqueue): void {
    if (queue.fault !== undefined) this.fail(`queue ${queue.index}: ${queue.fault}`);
  }

  /** Section 2.1.2: the status bit, and a configuration change notification if the driver is up. */
  fail(why: string): void {
    const s = this.state;
    if ((s.status & DeviceStatus.NEEDS_RESET) !== 0) return;
    trace.needs_reset?.({ id: this.id, why });
    s.status |= DeviceStatus.NEEDS_RESET;
    if ((s.status & DeviceStatus.DRIVER_OK) !== 0) this.interrupt(s.configVector, Isr.CONFIG);
  }

  configChanged(): void {
    const s = this.state;
    s.generation = (s.generation + 1) & 0xff;
    if ((s.status & DeviceStatus.DRIVER_OK) !== 0) this.interrupt(s.configVector, Isr.CONFIG);
  }

  private interrupt(vector: number, cause: number): void {
    if (this.msix.enabled) return this.msix.notify(vector);
    this.state.isr |= cause;
    this.setIntx(true);
  }

  // --- PCI

  override barMapped(index: number, address: number | undefined): void {
    if (index !== REGISTERS_BAR) return;
    this.registersAt = address;
    this.dropDoorbells();
    this.syncDoorbells();
  }

  override configRead(offset: number, size: number): number {
    if (offset === this.pciCfg + PCI_CFG_DATA) this.pciCfgAccess(false);
    return super.configRead(offset, size);
  }

  override configWrite(offset: number, size: number, value: number): void {
    super.configWrite(offset, size, value);
    if (offset === this.pciCfg + PCI_CFG_DATA) this.pciCfgAccess(true);
    this.msix.unmask();
  }

  /** The window for a driver that cannot reach BARs (section 4.1.4.8). */
  private pciCfgAccess(write: boolean): void {
    const { config } = this.state;
    const offset = config.readUInt32LE(this.pciCfg + 8);
    const length = config.readUInt32LE(this.pciCfg + 12);
    if (
      config[this.pciCfg + 4] !== REGISTERS_BAR ||
      ![1, 2, 4].includes(length) ||
      offset % length !== 0 ||
      offset + length > Window.SIZE
    )
      return;
    const data = this.pciCfg + PCI_CFG_DATA;
    if (write) this.mmioWrite(offset, length, config.readUIntLE(data, length));
    else config.writeUIntLE(lowBytes(this.mmioRead(offset, length), length), data, length);
  }

  // --- BAR 0

  mmioRead(offset: number, size: number): number {
    if (offset < Common.SIZE) return this.commonRead(offset);
    if (offset >= Window.NOTIFY) return 0;
    if (offset >= Window.DEVICE) return this.deviceConfigRead(offset - Window.DEVICE, size);
    return offset === Window.ISR ? this.readIsr() : 0;
  }

  mmioWrite(offset: number, size: number, value: number): void {
    if (offset < Common.SIZE) this.commonWrite(offset, lowBytes(value, 4));
    else if (offset >= Window.NOTIFY)
      this.kick(Math.floor((offset - Window.NOTIFY) / NOTIFY_MULTIPLIER));
    else if (offset >= Window.DEVICE) this.model.writeConfig(offset - Window.DEVICE, size, value);
  }

  private deviceConfigRead(offset: number, size: number): number {
    const config = this.model.readConfig();
    return offset + size <= config.length ? config.readUIntLE(offset, size) : 0;
  }

  private readIsr(): number {
    const value = this.state.isr;
    this.state.isr = 0;
    this.setIntx(false);
    return value;
  }

  private commonRead(offset: number): number {
    const s = this.state;
    const queue = s.queueSelect < s.queues.length ? s.queues[s.queueSelect] : undefined;
    switch (offset) {
      case Common.DEVICE_FEATURE_SELECT:
        return s.deviceFeatureSelect;
      case Common.DEVICE_FEATURE:
        return half(this.offered, s.deviceFeatureSelect);
      case Common.DRIVER_FEATURE_SELECT:
        return s.driverFeatureSelect;
      case Common.DRIVER_FEATURE:
        return half(s.driverFeatures, s.driverFeatureSelect);
      case Common.CONFIG_VECTOR:
        return s.configVector;
      case Common.QUEUE_COUNT:
        return s.queues.length;
      case Common.STATUS:
        return this.readStatus();
      case Common.GENERATION:
        return s.generation;
      case Common.QUEUE_SELECT:
        return s.queueSelect;
      case Common.QUEUE_SIZE:
        return queue?.size ?? 0;
      case Common.QUEUE_VECTOR:
        return queue?.vector ?? NO_VECTOR;
      case Common.QUEUE_ENABLE:
        return queue?.enabled ? 1 : 0;
      case Common.QUEUE_NOTIFY_OFF:
        return queue ? s.queueSelect : 0;
      case Common.QUEUE_DESC:
      case Common.QUEUE_DESC + 4:
        return half(queue?.desc ?? 0n, (offset - Common.QUEUE_DESC) / 4);
      case Common.QUEUE_DRIVER:
      case Common.QUEUE_DRIVER + 4:
        return half(queue?.driver ?? 0n, (offset - Common.QUEUE_DRIVER) / 4);
      case Common.QUEUE_DEVICE:
      case Common.QUEUE_DEVICE + 4:
        return half(queue?.device ?? 0n, (offset - Common.QUEUE_DEVICE) / 4);
      default:
        return 0;
    }
  }

  private commonWrite(offset: number, value: number): void {
    const s = this.state;
    switch (offset) {
      case Common.DEVICE_FEATURE_SELECT:
        s.deviceFeatureSelect = value;
        break;
      case Common.DRIVER_FEATURE_SELECT:
        s.driverFeatureSelect = value;
        break;
      case Common.DRIVER_FEATURE:
        if ((s.status & DeviceStatus.FEATURES_OK) === 0)
          s.driverFeatures =
            withHalf(s.driverFeatures, s.driverFeatureSelect, value) & this.offered;
        break;
      case Common.CONFIG_VECTOR:
        s.configVector = this.vector(value);
        break;
      case Common.STATUS:
        this.writeStatus(value & 0xff);
        break;
      case Common.QUEUE_SELECT:
        s.queueSelect = value & 0xffff;
        break;
      default:
        if (s.queueSelect < s.queues.length) this.queueWrite(offset, value);
    }
  }

  private queueWrite(offset: number, value: number): void {
    const queue = this.state.queues[this.state.queueSelect];
    if (offset === Common.QUEUE_VECTOR) queue.vector = this.vector(value);
    if (queue.enabled) return;
    switch (offset) {
      case Common.QUEUE_SIZE:
        if (validQueueSize(value & 0xffff)) queue.size = value & 0xffff;
        break;
      case Common.QUEUE_ENABLE:
        if ((value & 0xffff) === 1) this.enableQueue(this.state.queueSelect);
        break;
      case Common.QUEUE_DESC:
      case Common.QUEUE_DESC + 4:
        queue.desc = withHalf(queue.desc, (offset - Common.QUEUE_DESC) / 4, value);
        break;
      case Common.QUEUE_DRIVER:
      case Common.QUEUE_DRIVER + 4:
        queue.driver = withHalf(queue.driver, (offset - Common.QUEUE_DRIVER) / 4, value);
        break;
      case Common.QUEUE_DEVICE:
      case Common.QUEUE_DEVICE + 4:
        queue.device = withHalf(queue.device, (offset - Common.QUEUE_DEVICE) / 4, value);
        break;
      default:
        break;
    }
  }

  /** An impossible vector reads back as none (section 4.1.5.1.2). */
  private vector(value: number): number {
    return (value & 0xffff) < this.msix.vectors ? value & 0xffff : NO_VECTOR;
  }

  // --- device status

  /**
   * A reset is complete, and reads as 0, when no request is in flight any more (section 4.1.4.3.1).
   */
  private readStatus(): number {
    const { status } = this.state;
    return status === 0 && this.model.inFlight > 0 ? DeviceStatus.NEEDS_RESET : status;
  }

  private writeStatus(value: number): void {
    const s = this.state;
    trace.set_status?.({ id: this.id, value });
    if (value === 0) return this.deviceReset();
    const asks = (value & ~s.status & DeviceStatus.FEATURES_OK) !== 0;
    if (asks && !this.has(VirtioFeature.VERSION_1)) value &= ~DeviceStatus.FEATURES_OK;
    const starts = (value & ~s.status & DeviceStatus.DRIVER_OK) !== 0;
    s.status = value | (s.status & DeviceStatus.NEEDS_RESET);
    if (asks) this.bindQueues();
    if (starts) this.pollAll();
  }

  /** Everything but the PCI part. */
  private deviceReset(): void {
    this.repaired();
    const { config, msix } = this.state;
    this.state = { ...this.vmstate.reset(), config, msix };
    this.bindQueues();
    this.setIntx(false);
    this.dropDoorbells();
    this.model.deviceReset();
  }

  private enableQueue(index: number): void {
    const queue = this.state.queues[index];
    queue.enabled = true;
    this.queues[index].bind(queue);
    trace.queue_enable?.({ id: this.id, index, size: queue.size });
    this.checkFault(this.queues[index]);
    this.syncDoorbells();
  }

  private bindQueues(): void {
    for (const queue of this.queues) {
      queue.bind(this.state.queues[queue.index]);
      queue.eventIdx = this.has(VirtioFeature.EVENT_IDX);
      queue.indirect = this.has(VirtioFeature.INDIRECT_DESC);
    }
  }

  private pollAll(): void {
    for (const queue of this.queues) this.kick(queue.index);
  }

  private kick(index: number): void {
    if (!this.running || index >= this.queues.length) return;
    const queue = this.queues[index];
    if (queue.usable) this.model.handleQueue(queue);
    this.checkFault(queue);
  }

  // --- doorbells: a kick does not make the vCPU wait

  private syncDoorbells(): void {
    for (const queue of this.queues) {
      if (!queue.state.enabled || this.registersAt === undefined || this.doorbells[queue.index])
        continue;
      const address = this.registersAt + Window.NOTIFY + NOTIFY_MULTIPLIER * queue.index;
      const ring = this.guarded(() => this.kick(queue.index));
      this.doorbells[queue.index] = outside(() =>
        this.accel.addDoorbell({ space: 'mmio', address, size: 2, ring }),
      );
    }
  }

  private dropDoorbells(): void {
    for (const bell of this.doorbells) bell?.dispose();
    this.doorbells.length = 0;
  }
}
