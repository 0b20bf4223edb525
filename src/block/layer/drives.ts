/**
 * The disks of a VM as users call them: those of `-drive`, by id, and those without an id, which a
 * guest device laid over a node by its name. In the order in which they came.
 */
import { deviceNotFound } from '../../base/errors.js';
import type { DriveBackend } from '../backend/backend.js';
import type { BlockNode } from '../contract/node.js';
import type { DriveSpec } from '../options/options.js';
import type { OverlaidDisk, QuorumDisk } from './replicated.js';

export interface Drive {
  readonly backend: DriveBackend;
  /** The word of `drive=`: an id or the name of a node. Both sides of a pair say the same. */
  readonly name: string;
  readonly interface: DriveSpec['interface'];
  readonly index?: number;
  /** The node was made for this drive: closed with it. */
  owned: boolean;
  replicated?: QuorumDisk | OverlaidDisk;
}

export class Drives {
  private readonly all: Drive[] = [];

  [Symbol.iterator](): IterableIterator<Drive> {
    return this.all.values();
  }

  add(drive: Drive): void {
    this.all.push(drive);
  }

  remove(drive: Drive): void {
    this.all.splice(this.all.indexOf(drive), 1);
  }

  clear(): Drive[] {
    return this.all.splice(0);
  }

  /** By its id. */
  find(id: string): Drive | undefined {
    return this.all.find(({ backend }) => backend.id === id && id !== '');
  }

  /** By its id, or that of the guest device in front; one without an id also by its node. */
  get(name: string): Drive {
    const drive =
      this.find(name) ??
      this.all.find(({ backend }) => backend.attachedDevice === name) ??
      this.all.find(({ backend }) => backend.id === '' && backend.nodeName === name);
    if (!drive) throw deviceNotFound(name);
    return drive;
  }

  over(node: BlockNode): Drive[] {
    return this.all.filter(({ backend }) => backend.nodeName === node.name);
  }
}
