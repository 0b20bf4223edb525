/**
 * The oracle: every step of every guest with the step before it, every state that a checkpoint
 * took, every packet that left a host. Steps are numbered once for both sides, so a state is a
 * path, and a client has seen one machine if all its packets lie on one path.
 */
import type { World } from '../support/sim/world.js';
import type { RamCopy } from '../support/sim/ram.js';
import type { DiskModel } from './model.js';
import type { SimVm } from './vm.js';

export interface Snapshot {
  readonly serial: number;
  readonly step: number;
  readonly ram: RamCopy;
  /** Each device as it was saved. */
  readonly devices: readonly Buffer[];
  /** What is in the primary's images, and what its guest knows of it. */
  readonly images: readonly Uint8Array[];
  readonly models: readonly DiskModel[];
}

interface Packet {
  at: number;
  from: string;
  nic: number;
  id: number;
}

export class History {
  private readonly parents = new Map<number, number>();
  /** The latest: one may be committed while the next is under way. */
  private readonly snapshots = new Map<number, Snapshot>();
  private serials = 0;
  readonly packets: Packet[] = [];
  /** The latest step that the secondary was bound to when it said vmstate-received. */
  coveredStep = -1;
  /** Last snapshot that the secondary has loaded. */
  committed: Snapshot | undefined;
  /** Since then the secondary's network is open. */
  takeoverAt: number | undefined;
  /** Both clocks of the primary stood still: only host power could have kept it from speaking. */
  frozen = false;
  /** Whether the output of the primary's nic is held now; set by the pair. */
  held: (nic: number) => boolean = () => false;

  constructor(private readonly world: World) {}

  step(id: number, parent: number): void {
    this.parents.set(id, parent);
  }

  snapshot(vm: SimVm): number {
    const serial = ++this.serials;
    const old = this.snapshots.get(serial - 3);
    this.snapshots.delete(serial - 3);
    // Most of what a run would allocate.
    const reused = old === this.committed ? undefined : old;
    this.snapshots.set(serial, {
      serial,
      step: vm.step,
      ram: vm.ram.copy(),
      devices: vm.deviceStates(),
      images: vm.images.map((path, n) => copyInto(reused?.images[n], vm.storage.bytes(path))),
      models: vm.models.map(model => model.copy()),
    });
    return serial;
  }

  /** A frame of the guest leaves a host. */
  packet(from: string, nic: number, id: number): void {
    this.packets.push({ at: this.world.now, from, nic, id });
    this.world.note(from, `packet ${id}${nic > 0 ? ` by nic ${nic}` : ''}`);
    this.speaks(from, `packet ${id}`);
    if (from !== 'P' || !this.held(nic) || id <= this.coveredStep) return;
    this.world.fail(
      `packet ${id} left the primary, the secondary holds only up to step ${this.coveredStep}`,
    );
  }

  /** A filter's copy of a frame leaves: it tells as much as the frame. */
  copy(from: string, id: number): void {
    this.speaks(from, `a copy of packet ${id}`);
    if (from !== 'P' || !this.held(0) || id <= this.coveredStep) return;
    this.world.fail(`a copy of packet ${id} left the primary before it was covered`);
  }

  /** Anything that a host says in the guest's name. */
  speaks(from: string, what: string): void {
    const over = this.takeoverAt !== undefined;
    if (from === 'P' && over && !this.frozen) {
      this.world.fail(`${what} left the primary after the secondary's network opened`);
    }
    if (from === 'S' && !over)
      this.world.fail(`${what} left the secondary, which has not taken over`);
  }

  /** The secondary says vmstate-received: it is bound to this snapshot now. */
  covered(serial: number): void {
    this.coveredStep = Math.max(this.coveredStep, this.snapshots.get(serial)!.step);
  }

  loaded(vm: SimVm): void {
    const snapshot = this.snapshots.get(vm.loadedSerial)!;
    this.check(vm, snapshot, 'after a checkpoint');
    this.committed = snapshot;
  }

  /** Nothing of a later epoch may be there. */
  untouched(vm: SimVm, when: string): void {
    const difference = this.committed && differs(vm, this.committed);
    if (difference) this.world.fail(`${when}: ${difference}`);
  }

  /** Before its guest runs: what it goes on from. */
  takesOver(vm: SimVm): void {
    this.world.note(vm.name, `takes over at step ${vm.step}`);
    this.takeoverAt = this.world.now;
    const { committed } = this;
    if (!committed) return this.world.fail('failover without a complete first state');
    this.check(vm, committed, 'at failover');
    vm.models.forEach((model, n) => {
      model.become(committed.models[n]);
      // A merge ends with a sync.
      model.flushed();
    });
    if (committed.step >= this.coveredStep) return;
    this.world.fail(
      `failover from step ${committed.step}, packets up to ${this.coveredStep} may be out`,
    );
  }

  private check(vm: SimVm, snapshot: Snapshot, when: string): void {
    const difference = differs(vm, snapshot);
    if (difference) this.world.fail(`${when}: ${difference}`);
    for (const [n, path] of vm.images.entries()) {
      const at = firstDifference(vm.storage.bytes(path), snapshot.images[n]);
      if (at >= 0)
        this.world.fail(`${when}: '${path}' differs from snapshot ${snapshot.serial} at ${at}`);
    }
  }

  /** All packets lie on the path of the machine that is left, and each came once, in order. */
  oneMachine(survivorStep: number): void {
    const path = new Set<number>();
    for (let id = survivorStep; id !== 0 && id !== undefined; id = this.parents.get(id)!)
      path.add(id);
    const stray = this.packets.find(p => !path.has(p.id));
    if (stray) {
      this.world.fail(`packet ${stray.id} of ${stray.from} is not in the history of the survivor`);
    }
    const last = new Map<number, number>();
    for (const { nic, id, from } of this.packets) {
      if (id <= (last.get(nic) ?? 0) && !this.frozen) {
        this.world.fail(`packet ${id} of ${from} came twice or out of order`);
      }
      last.set(nic, id);
    }
  }
}

function differs(vm: SimVm, snapshot: Snapshot): string | undefined {
  const { serial } = snapshot;
  if (vm.loadedSerial !== serial) return `devices of snapshot ${vm.loadedSerial}, not ${serial}`;
  const page = vm.ram.differsFrom(snapshot.ram);
  if (page !== undefined) return `page ${page} is not that of snapshot ${serial}`;
  const other = vm.deviceStates().findIndex((state, n) => !state.equals(snapshot.devices[n]));
  return other < 0 ? undefined : `device ${other} is not as in snapshot ${serial}`;
}

function copyInto(reused: Uint8Array | undefined, bytes: Uint8Array): Uint8Array {
  if (reused?.length !== bytes.length) return Uint8Array.from(bytes);
  reused.set(bytes);
  return reused;
}

function firstDifference(a: Buffer, b: Uint8Array): number {
  if (a.equals(b)) return -1;
  const at = a.findIndex((byte, i) => byte !== b[i]);
  return at < 0 ? Math.min(a.length, b.length) : at;
}
