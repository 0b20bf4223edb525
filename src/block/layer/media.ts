/**
 * Media that a user changes while the guest runs: the tray of the device in front first, then what
 * lies in it. A guest that has locked its tray is asked, and decides; `force` does not ask.
 */
import { VmError } from '../../base/errors.js';
import type { BlockNode } from '../contract/node.js';
import { type BlockGraph, requireBootable } from '../graph/graph.js';
import { OptionTree } from '../options/option-tree.js';
import { readDrive } from '../options/options.js';
import type { Drive, Drives } from './drives.js';

/** What a user puts in. format: raw, unless another is named. */
export interface MediumFile {
  readonly filename: string;
  readonly format?: string;
}

export class Media {
  /** VmError: the medium may not change now. Set by who has the VM. */
  requireFree: (name: string) => void = () => undefined;

  constructor(
    private readonly drives: Drives,
    private readonly graph: BlockGraph,
  ) {}

  openTray(name: string, force = false): void {
    this.opened(this.removable(name), force);
  }

  closeTray(name: string): void {
    this.removable(name).backend.tray?.move(false);
  }

  async remove(name: string): Promise<void> {
    const drive = this.removable(name);
    requireOpen(drive, name);
    await this.take(drive, name);
  }

  /** node: one that is there. */
  insert(name: string, node: string): void {
    const drive = this.removable(name);
    this.put(drive, name, this.graph.node(node), false);
  }

  async eject(name: string, force = false): Promise<void> {
    const drive = this.removable(name);
    if (!this.opened(drive, force)) throw stillLocked(name);
    await this.take(drive, name);
  }

  /** The new medium is opened before the old one leaves: if it cannot be, nothing changes. */
  async change(name: string, file: MediumFile, force = false): Promise<void> {
    this.removable(name);
    const node = await this.graph.build(rootOf(file), name);
    try {
      const drive = this.removable(name);
      requireBootable(node);
      if (!this.opened(drive, force)) throw stillLocked(name);
      await this.take(drive, name);
      this.put(drive, name, node, true);
    } catch (error) {
      await this.graph.close(node);
      throw error;
    }
    this.closeTray(name);
  }

  /** drive_del of one that is empty. */
  forget(drive: Drive): void {
    drive.backend.detach();
    this.drives.remove(drive);
  }

  private removable(name: string): Drive {
    const drive = this.drives.get(name);
    if (!drive.backend.removable) throw new VmError(`Device '${name}' is not removable`);
    this.requireFree(name);
    return drive;
  }

  /** False: the guest has locked it, and knows now what is wanted. */
  private opened({ backend: { tray } }: Drive, force: boolean): boolean {
    if (!tray || tray.open) return true;
    if (tray.locked) tray.askToOpen();
    if (tray.locked && !force) return false;
    tray.move(true);
    return true;
  }

  private async take(drive: Drive, name: string): Promise<void> {
    const { backend, owned } = drive;
    if (!backend.hasMedium) return;
    const others = backend.node.userLabels.filter(label => label !== backend.label);
    if (owned && others.length > 0)
      throw new VmError(`the medium of '${name}' is in use by ${others.join(', ')}`);
    const node = backend.takeMedium();
    await backend.drain();
    if (node && owned) await this.graph.close(node);
  }

  private put(drive: Drive, name: string, node: BlockNode, owned: boolean): void {
    this.requireFree(name);
    requireOpen(drive, name);
    if (drive.backend.hasMedium) throw new VmError(`There already is a medium in device '${name}'`);
    requireBootable(node);
    drive.backend.insertMedium(node);
    drive.owned = owned;
  }
}

function requireOpen({ backend: { tray } }: Drive, name: string): void {
  if (tray && !tray.open) throw new VmError(`Tray of device '${name}' is not open`);
}

const stillLocked = (name: string) =>
  new VmError(
    `Device '${name}' is locked and force was not specified, wait for tray to open and try again`,
  );

function rootOf({ filename, format }: MediumFile) {
  const words = { file: filename, if: 'none', media: 'cdrom', ...(format && { format }) };
  return readDrive(OptionTree.from(words)).root!;
}
