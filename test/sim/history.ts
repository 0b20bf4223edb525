/**
 * The oracle: every step of every guest with the step before it, every snapshot that a checkpoint took, every packet that left a host.
 * Steps are numbered once for both sides, so a state is a path, and a client has seen one machine if all its packets lie on one path.
 */
import type { SimMachine } from './guest.js';
import type { World } from './world.js';

export interface Snapshot {
  serial: number;
  ram: Uint8Array;
  disk: number[];
  step: number;
}

export class History {
  private readonly parents = new Map<number, number>();
  private readonly snapshots: Snapshot[] = [];
  readonly packets: { at: number; from: string; id: number }[] = [];
  /** The latest step that the secondary was committed to when it said vmstate-received. */
  coveredStep = -1;
  /** Last snapshot that the secondary has loaded. */
  committed: Snapshot | undefined;
  takeoverAt: number | undefined;
  /** Whether the primary's output is held now; set by the pair. */
  held: () => boolean = () => false;

  constructor(private readonly world: World) {}

  step(id: number, parent: number): void {
    this.parents.set(id, parent);
  }

  snapshot(ram: Uint8Array, disk: number[], step: number): Snapshot {
    const snapshot = { serial: this.snapshots.length + 1, ram: ram.slice(), disk: [...disk], step };
    this.snapshots.push(snapshot);
    return snapshot;
  }

  /** A packet leaves a host. */
  packet(from: string, id: number): void {
    this.packets.push({ at: this.world.now, from, id });
    this.world.note(from, `packet ${id}`);
    if (from !== 'P') return;
    if (this.held() && id > this.coveredStep) this.world.fail(`packet ${id} left the primary, the secondary holds only up to step ${this.coveredStep}`);
    if (this.takeoverAt !== undefined) this.world.fail(`packet ${id} left the primary after the secondary's network opened`);
  }

  /** The secondary says vmstate-received: it is bound to this snapshot now. */
  covered(serial: number): void {
    this.coveredStep = Math.max(this.coveredStep, this.snapshots[serial - 1].step);
  }

  loaded(machine: SimMachine): void {
    const snapshot = this.snapshots[machine.serial - 1];
    this.check(machine, snapshot, 'after a checkpoint');
    this.committed = snapshot;
  }

  /** Nothing of a later epoch may be there. */
  untouched(machine: SimMachine, when: string): void {
    const difference = this.committed && machine.matches(this.committed);
    if (difference) this.world.fail(`${when}: ${difference}`);
  }

  tookOver(name: string, machine: SimMachine): void {
    this.world.note(name, `takes over at step ${machine.step}`);
    if (!this.committed) return this.world.fail('failover without a complete first state');
    this.check(machine, this.committed, 'at failover');
    if (this.committed.step < this.coveredStep) this.world.fail(`failover from step ${this.committed.step}, packets up to ${this.coveredStep} may be out`);
  }

  private check(machine: SimMachine, snapshot: Snapshot, when: string): void {
    const difference = machine.matches(snapshot);
    if (difference) this.world.fail(`${when}: ${difference}`);
    if (machine.disk.content.some((v, i) => v !== snapshot.disk[i])) this.world.fail(`${when}: the disk is not that of snapshot ${snapshot.serial}`);
  }

  /** All packets lie on the path of the machine that is left. */
  oneMachine(survivorStep: number): void {
    const path = new Set<number>();
    for (let id = survivorStep; id !== 0 && id !== undefined; id = this.parents.get(id)!) path.add(id);
    const stray = this.packets.find(p => !path.has(p.id));
    if (stray) this.world.fail(`packet ${stray.id} of ${stray.from} is not in the history of the surviving machine`);
    const seen = this.packets.map(p => p.id);
    if (seen.some((id, i) => i > 0 && id <= seen[i - 1])) this.world.fail('packets came twice or out of order');
  }
}
