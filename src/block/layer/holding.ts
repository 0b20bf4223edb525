/**
 * Whether the images of the guest are this process's to write. Where a guest migrates live, both
 * sides have the same images open: the source gives them up (inactive: unlocked, no write goes
 * through), then the destination takes them.
 */
import { VmError } from '../../base/errors.js';
import { FileDriver } from '../drivers/file.js';
import { Qcow2Driver } from '../drivers/qcow2/driver.js';
import { ReplicationPrimary } from '../drivers/replication/primary.js';
import { ReplicationSecondary } from '../drivers/replication/secondary.js';
import { type BlockGraph, requireBootable } from '../graph/graph.js';
import type { BlockNode } from '../contract/node.js';

export class ImageHolding {
  /** A later call makes an earlier one that still waits for a disk give up. */
  private turn = 0;
  private taking?: Promise<void>;

  constructor(
    private readonly graph: BlockGraph,
    /** The disks that a guest device holds. */
    private readonly disks: () => BlockNode[],
  ) {}

  get active(): boolean {
    return this.inactive().length === 0;
  }

  /**
   * The guest stands still. What was written is on the medium, then nothing of ours can write, then
   * another process may. Rejects: some are still ours and others are not, and activate() is next.
   */
  async inactivate(): Promise<void> {
    const turn = ++this.turn;
    for (const node of new Set(this.disks().flatMap(imagesBelow))) {
      // An NBD client or a job may be in the middle of a write.
      await node.quiesce('changes', never, async () => {
        const image = node.driver as FileDriver;
        await image.flush();
        this.requireTurn(turn);
        image.inactivate();
      });
    }
  }

  /** All of them, or none. VmError: another process has one, or it is no disk for a guest now. */
  activate(): Promise<void> {
    this.taking ??= this.take().finally(() => (this.taking = undefined));
    return this.taking;
  }

  /** What inactivate() and activate() wait for is not wanted any more. */
  giveUp(): void {
    this.turn++;
  }

  private async take(): Promise<void> {
    const turn = ++this.turn;
    const taken: FileDriver[] = [];
    try {
      for (const image of this.inactive()) {
        await image.activate();
        taken.push(image);
        this.requireTurn(turn);
      }
      for (const disk of this.disks()) requireBootable(disk);
    } catch (error) {
      for (const image of taken) image.inactivate();
      throw error;
    }
  }

  private inactive(): FileDriver[] {
    return this.graph
      .all()
      .flatMap(({ driver }) => (driver instanceof FileDriver && !driver.active ? [driver] : []));
  }

  private requireTurn(turn: number): void {
    if (turn !== this.turn) throw new VmError('the images are not to change hands any more');
  }
}

/** The caller has a time limit of its own, and giveUp(). */
const never = new Promise<never>(() => undefined);

/**
 * What a qcow2 image or a replication knows of its file is in this process's memory, so that file
 * stays here: diskObstacle() keeps such a disk from a live migration's destination.
 */
function imagesBelow(node: BlockNode): BlockNode[] {
  const { driver } = node;
  if (driver instanceof FileDriver) return driver.readOnly ? [] : [node];
  const stays = [Qcow2Driver, ReplicationPrimary, ReplicationSecondary];
  if (stays.some(kind => driver instanceof kind)) return [];
  return [...node.children.values()].flatMap(imagesBelow);
}
