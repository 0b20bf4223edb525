/**
 * Whether the images of the guest are this process's to write. Where a guest migrates live, both
 * sides have the same images open: the source gives them up (inactive: unlocked, no write goes
 * through), then the destination takes them.
 */
import { VmError } from '../../base/errors.js';
import { type BlockGraph, requireBootable } from '../graph/graph.js';
import type { BlockNode } from '../contract/node.js';
import { inRole } from '../contract/roles.js';

export class ImageHolding {
  /** A later call cancels an earlier one that still waits for a disk. */
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
   * Called while the guest is stopped. What was written is on the medium, then this process cannot
   * write, then another process may. If it rejects, some images are still owned and others are not;
   * call activate() next.
   */
  async inactivate(): Promise<void> {
    const turn = ++this.turn;
    for (const node of new Set(this.disks().flatMap(imagesBelow))) {
      // An NBD client or a job may be in the middle of a request.
      await node.quiesce('changes', never, () =>
        node.quiesce('reads', never, async () => {
          await node.driver.flush();
          this.requireTurn(turn);
          await node.driver.inactivate!();
        }),
      );
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

  /** What is below comes first: a format reads its file anew. */
  private async take(): Promise<void> {
    const turn = ++this.turn;
    const lengths = this.graph.all().map(node => ({ node, was: node.length }));
    const taken: BlockNode[] = [];
    try {
      for (const node of this.inactive()) {
        await node.driver.activate!();
        taken.push(node);
        this.requireTurn(turn);
      }
      for (const { node, was } of lengths) this.requireLength(node, was);
      for (const disk of this.disks()) requireBootable(disk);
    } catch (error) {
      for (const node of taken.reverse()) await node.driver.inactivate!();
      throw error;
    }
  }

  /** A file may grow below an image that says itself how long its disk is. */
  private requireLength(node: BlockNode, was: number): void {
    const belowFormat = this.graph
      .parentsOf(node)
      .some(({ parent, edge }) => edge === 'file' && parent.driver.activate);
    if (node.length === was || belowFormat) return;
    const path = inRole('file', node)?.path;
    throw new VmError(
      `${path === undefined ? `node '${node.name}'` : `image '${path}'`} has ${node.length} ` +
        `bytes; it had ${was} when it was opened here`,
    );
  }

  private inactive(): BlockNode[] {
    const above = (node: BlockNode): BlockNode[] => [
      ...[...node.children.values()].flatMap(above),
      ...(node.driver.active === false ? [node] : []),
    ];
    return [...new Set(this.graph.all().flatMap(above))];
  }

  private requireTurn(turn: number): void {
    if (turn !== this.turn) throw new VmError('the images are not to change hands any more');
  }
}

/** The caller has a time limit of its own, and giveUp(). */
const never = new Promise<never>(() => undefined);

/**
 * From the top down. What a replication knows of its file is in this process's memory, so that file
 * stays here.
 */
function imagesBelow(node: BlockNode): BlockNode[] {
  const { driver } = node;
  if (driver.role === 'follower' || driver.role === 'secondary') return [];
  const below = [...node.children.values()].flatMap(imagesBelow);
  return driver.inactivate && !driver.readOnly ? [node, ...below] : below;
}
