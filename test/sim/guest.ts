/**
 * A machine small enough to compare: a few pages of RAM, a device record, one disk, one nic on the real netdev and filter. Its program is
 * chance: each step takes a number that no other step ever gets, so two machines that both went on from one state can be told apart.
 */
import type { DirtyLog, GuestMemory, PageRun, Ram } from '../../src/accel/contract.js';
import { VmError } from '../../src/base/errors.js';
import type { Lifecycle, Manifest, StagedDevices } from '../../src/colo/contract.js';
import type { Tap } from '../../src/host/ports.js';
import { TapNetdev } from '../../src/net/netdev/tap.js';
import type { SimDisk } from './disk.js';
import type { History, Snapshot } from './history.js';
import { Random, type SimNode } from './world.js';

export const pageCount = 24;
const pageBytes = 4096;
/** jest looks a global up the slow way. */
const { imul } = Math;

export class SimRam implements Omit<Ram, keyof GuestMemory> {
  readonly bytes = new Uint8Array(pageCount * pageBytes);
  readonly size = this.bytes.length;
  readonly pageCount = pageCount;
  private dirty = new Set<number>();
  readonly dirtyLog: DirtyLog & { active: boolean } = {
    active: false,
    start: () => void (this.dirtyLog.active = true),
    stop: () => void (this.dirtyLog.active = false),
    count: () => this.dirty.size,
    take: () => {
      const pages = Uint32Array.from([...this.dirty].sort((a, b) => a - b));
      this.dirty = new Set();
      return pages;
    },
    restore: pages => pages.forEach(p => this.dirty.add(p)),
  };
  private readonly view = new DataView(this.bytes.buffer);

  get(address: number): number {
    return this.view.getUint32(address, true);
  }
  set(address: number, value: number): void {
    this.view.setUint32(address, value, true);
    if (this.dirtyLog.active) this.dirty.add(Math.floor(address / pageBytes));
  }
  gather(pages: Uint32Array, out: Uint8Array): void {
    pages.forEach((p, i) => out.set(this.bytes.subarray(p * pageBytes, (p + 1) * pageBytes), i * pageBytes));
  }
  scatter(pages: Uint32Array, data: Uint8Array): void {
    pages.forEach((p, i) => this.bytes.set(data.subarray(i * pageBytes, (i + 1) * pageBytes), p * pageBytes));
  }
  zero(pages: Uint32Array): void {
    pages.forEach(p => this.bytes.fill(0, p * pageBytes, (p + 1) * pageBytes));
  }
  /** Pages of zeroes are taken for holes. */
  populated(): PageRun[] {
    const held = (page: number) => this.bytes.subarray(page * pageBytes, (page + 1) * pageBytes).some(byte => byte !== 0);
    return Array.from({ length: pageCount }, (_, page) => ({ from: page, to: page + 1 })).filter(run => held(run.from));
  }
  hash(): bigint {
    let h = 2166136261;
    for (let at = 0; at < this.size; at += 4) h = imul(h ^ this.view.getUint32(at, true), 16777619);
    return BigInt(h >>> 0);
  }
}

/** Where the program keeps its state: number of the last step, and a packet that the nic did not take yet. */
const lastStep = 0;
const pendingPacket = 8;

export interface GuestFaults {
  /** Chance that stopping takes too long and is refused. */
  stopFails: number;
  tapFull: number;
}

export class SimMachine implements Lifecycle {
  readonly simRam = new SimRam();
  readonly ram = this.simRam as unknown as Ram;
  readonly netdev: TapNetdev;
  running = false;
  halted = false;
  poweredOff = false;
  shutdownRequested = false;
  live = false;
  /** Device state: the snapshot that it was loaded from. */
  private deviceSerial = 0;
  /** Snapshot of the state that was checked last. */
  parsedSerial = 0;
  private readonly random: Random;

  constructor(
    private readonly node: SimNode,
    private readonly history: History,
    readonly disk: SimDisk,
    private readonly faults: GuestFaults,
  ) {
    this.random = new Random(node.world.seed * 7 + node.name.length);
    this.netdev = new TapNetdev('hn0', this.tap(), node.clock, { packets: 40, bytes: 4096 });
    this.netdev.attachNic({ mac: new Uint8Array([0x52, 0x54, 0, 0, 0, 1]), receive: () => true, announce: () => undefined });
    this.netdev.onRoom(() => this.running && this.sendPending());
  }

  /** First power-on. */
  powerOn(): void {
    this.live = true;
    this.go();
    this.schedule();
  }

  requestShutdown(): void {
    this.shutdownRequested = true;
    this.halt();
  }

  manifest(): Manifest {
    return { ramBytes: this.simRam.size, cpus: 1, cpu: { model: 'fake', vendor: 'AuthenticAMD', signature: 0x60fb1, features: ['fpu'], sockets: 1, cores: 1, threads: 1 }, accel: 'sim', devices: [{ id: 'dev0', vmstate: 'sim', version: 1 }], disks: [{ id: this.disk.name, length: this.disk.length }], netdevs: ['hn0'] };
  }

  async stopForCheckpoint(): Promise<void> {
    if (this.running) await new Promise<void>(resolve => void this.node.clock.timer(this.random.between(0, 0.5), resolve));
    this.halt();
    if (this.random.chance(this.faults.stopFails)) throw new VmError('CPU 0 does not stop');
  }

  resumeAfterCheckpoint(): void {
    if (this.live && !this.halted && !this.shutdownRequested && !this.node.dead) this.go();
  }

  async whileStopped<T>(fn: () => T): Promise<T> {
    try {
      await this.stopForCheckpoint();
      return fn();
    } finally {
      this.resumeAfterCheckpoint();
    }
  }

  // --- migration without COLO

  checkpointEvents = true;
  moved: 'no' | 'leaving' | 'gone' | 'may-continue' = 'no';

  checkMigratable(): void {
    if (!this.live) throw new VmError('Guest is waiting for an incoming migration');
  }

  async stopForMigration(): Promise<boolean> {
    await this.stopForCheckpoint();
    this.moved = 'leaving';
    return this.live;
  }

  migrationFailed(): void {
    if (this.moved !== 'leaving') return;
    this.moved = 'no';
    this.resumeAfterCheckpoint();
  }

  migrationDone({ mayContinue }: { mayContinue: boolean }): void {
    this.moved = mayContinue ? 'may-continue' : 'gone';
    this.halted = true;
  }

  runAfterMigration(ran: boolean): void {
    if (!this.node.dead && ran) this.powerOn();
  }

  saveDevices(): Buffer {
    if (this.running) this.node.world.fail('devices saved while the guest runs');
    const snapshot = this.history.snapshot(this.simRam.bytes, this.disk.content, this.simRam.get(lastStep));
    const blob = Buffer.alloc(200);
    blob.writeUInt32BE(snapshot.serial, 0);
    return blob;
  }

  parseDevices(blob: Uint8Array): StagedDevices {
    if (blob.length !== 200) throw new VmError('dev0: wrong length');
    const serial = Buffer.from(blob).readUInt32BE(0);
    this.parsedSerial = serial;
    return { apply: () => void (this.deviceSerial = serial) };
  }

  /** Does RAM hold exactly this snapshot, and do the devices belong to it? */
  matches(snapshot: Snapshot): string | undefined {
    if (this.deviceSerial !== snapshot.serial) return `devices of snapshot ${this.deviceSerial}, not ${snapshot.serial}`;
    if (Buffer.compare(this.simRam.bytes, snapshot.ram) !== 0) return `RAM is not that of snapshot ${snapshot.serial}`;
    return undefined;
  }
  get serial(): number {
    return this.deviceSerial;
  }
  get step(): number {
    return this.simRam.get(lastStep);
  }

  runAfterFailover(): void {
    if (this.node.dead) return;
    this.history.tookOver(this.node.name, this);
    this.live = true;
    this.go();
    this.schedule();
  }

  async haltForPeer(): Promise<void> {
    this.halted = true;
    this.halt();
  }

  powerOff(): void {
    if (this.node.dead) return;
    this.node.world.note(this.node.name, 'powered off');
    this.poweredOff = true;
    this.halt();
  }

  private go(): void {
    this.running = true;
    this.netdev.setRunning(true);
  }
  private halt(): void {
    this.running = false;
    this.netdev.setRunning(false);
  }

  private schedule(): void {
    this.node.world.after(this.random.between(1, 5), () => {
      if (this.node.dead) return;
      this.node.deliver('input', () => this.running && this.work());
      this.schedule();
    });
  }

  private work(): void {
    if (this.simRam.get(pendingPacket) !== 0 && !this.sendPending()) return;
    const id = this.node.world.nextId();
    this.history.step(id, this.simRam.get(lastStep));
    this.simRam.set(lastStep, id);
    for (let i = this.random.below(6); i > 0; i--) this.simRam.set(4096 + 4 * this.random.below((pageCount - 1) * 1024), this.random.chance(0.2) ? 0 : id);
    if (this.random.chance(0.4)) this.disk.write(this.random.below(this.disk.content.length), id);
    if (this.random.chance(0.6)) {
      this.simRam.set(pendingPacket, id);
      this.sendPending();
    }
  }

  private sendPending(): boolean {
    const id = this.simRam.get(pendingPacket);
    if (id === 0) return true;
    const frame = Buffer.alloc(60 + (id % 40));
    frame.writeUInt32BE(id, 14);
    if (!this.netdev.send(frame)) return false;
    this.simRam.set(pendingPacket, 0);
    return true;
  }

  private tap(): Tap {
    return {
      ifname: 'tap0',
      onFrame: () => undefined,
      pause: () => undefined,
      resume: () => undefined,
      dispose: () => undefined,
      write: frame => {
        if (this.node.dead) return true;
        if (this.random.chance(this.faults.tapFull)) return false;
        this.history.packet(this.node.name, Buffer.from(frame).readUInt32BE(14));
        return true;
      },
    };
  }
}
