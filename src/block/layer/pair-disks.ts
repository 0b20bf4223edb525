/**
 * The disks of a VM as the other side of its pair knows them: which are replicated, where their
 * records are, and what may not change while COLO has them.
 */
import { VmError } from '../../base/errors.js';
import type { BlockNode } from '../contract/node.js';
import { inRole, type SecondaryView } from '../contract/roles.js';
import { isBelow } from '../graph/chain.js';
import type { ImageRecord } from '../record/image-record.js';
import type { Drive, Drives } from './drives.js';
import { imagesOf } from './disk-intents.js';
import { OverlaidDisk, QuorumDisk } from './replicated.js';

interface PairDisksPorts {
  /** VmError: a block job runs. */
  refuseJobs(): void;
  /** The name of the writable NBD export of a node. */
  exportOf(disk: BlockNode): string | undefined;
}

export class PairDisks {
  constructor(
    private readonly drives: Drives,
    private readonly ports: PairDisksPorts,
  ) {}

  /**
   * Every writable disk that a guest device holds, or an error that names one that is not
   * replicated.
   */
  primaryDisks(): QuorumDisk[] {
    return this.writable().map(drive => {
      const disk = this.replicatedOf(drive);
      if (disk?.side === 'primary') return disk;
      throw notReplicated(drive, 'primary', 'quorum');
    });
  }

  secondaryDisks(): OverlaidDisk[] {
    return this.writable().map(drive => {
      const disk = this.replicatedOf(drive);
      if (disk?.side === 'secondary') return disk;
      throw notReplicated(drive, 'secondary', 'replication');
    });
  }

  /**
   * Where the records of the pair are: the images of every writable disk that a guest device holds.
   */
  images(): { disk: string; record: ImageRecord }[] {
    return [...this.drives].flatMap(drive => {
      const { attachedDevice, readOnly } = drive.backend;
      if (attachedDevice === undefined || readOnly) return [];
      const disk = this.replicatedOf(drive)?.name ?? drive.name;
      return imagesOf(drive.backend.node).map(({ file: { record } }) => ({ disk, record }));
    });
  }

  /**
   * What must be equal on both sides: every disk that a guest device holds, by the name that joins
   * the pair, in the order of the drives. A drive that is empty has no length.
   */
  manifest(): { id: string; length: number; readOnly?: boolean }[] {
    const held = [...this.drives].filter(({ backend }) => backend.attachedDevice !== undefined);
    return held.map(drive => {
      const { length, readOnly, hasMedium } = drive.backend;
      const replicated = hasMedium ? this.replicatedOf(drive) : undefined;
      const id = replicated?.name ?? drive.name;
      return { id, length, ...(readOnly && { readOnly }) };
    });
  }

  /** VmError: COLO has a disk. */
  requireNoColo(): void {
    for (const { replicated, backend } of this.drives) {
      if (replicated?.inUse) throw inUseByColo(`no block job can work: ${backend.label}`);
    }
  }

  /** VmError: the node is below a disk that COLO has. */
  requireUnprotected(node: BlockNode, name: string): void {
    for (const { replicated, backend } of this.drives) {
      if (replicated?.inUse && isBelow(node, backend.node)) throw inUseByColo(name);
    }
  }

  /** VmError: a block job runs. */
  private writable(): Drive[] {
    this.ports.refuseJobs();
    return [...this.drives].filter(
      ({ backend }) => backend.attachedDevice !== undefined && !backend.readOnly,
    );
  }

  /** Always the same object for a drive and its part: it knows what it started. */
  private replicatedOf(drive: Drive): QuorumDisk | OverlaidDisk | undefined {
    const { node } = drive.backend;
    const { refuseJobs } = this.ports;
    const secondary = secondaryBelow(node);
    const quorum = inRole('quorum', node);
    if (secondary) {
      requireTop(secondary.chain.topId, drive);
      const pairName = () => this.pairName(secondary.disk);
      if (drive.replicated?.side !== 'secondary')
        drive.replicated = new OverlaidDisk(drive.name, secondary, pairName, { refuseJobs });
    } else if (quorum && drive.replicated?.side !== 'primary') {
      const root = () => (drive.backend.nodeName === '' ? undefined : drive.backend.node);
      drive.replicated = new QuorumDisk(drive.name, node, quorum, { root, refuseJobs });
    }
    return drive.replicated;
  }

  private pairName(disk: BlockNode): string | undefined {
    const exported = this.ports.exportOf(disk);
    if (exported !== undefined) return exported;
    return this.drives.over(disk)[0]?.backend.id;
  }
}

function notReplicated({ backend }: Drive, mode: string, driver: string): VmError {
  return new VmError(
    `${backend.label} is writable and not replicated: in ${mode} mode its driver must be ` +
      `${driver}, it is ${backend.node.driver.format}`,
  );
}

export const inUseByColo = (what: string) =>
  new VmError(`${what} is in use by COLO`, { hint: 'x_colo_lost_heartbeat ends COLO.' });

function requireTop(topId: string | undefined, { name, backend }: Drive): void {
  if (topId === undefined || topId === name || topId === backend.nodeName) return;
  throw new VmError(
    `top-id '${topId}' is not the drive above the replication node: that is '${name}'`,
  );
}

/**
 * The secondary's part of a disk: a replication node, or a quorum of that alone, which can get a
 * replica of its own when the guest has gone over. Then, and in a disk without one, there is none.
 */
function secondaryBelow(node: BlockNode): SecondaryView | undefined {
  const quorum = inRole('quorum', node);
  const alone = quorum?.children.size === 1 ? quorum.voters[0] : node;
  const secondary = inRole('secondary', alone);
  return alone === node || secondary?.state !== 'done' ? secondary : undefined;
}
