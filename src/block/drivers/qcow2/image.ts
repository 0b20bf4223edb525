/** An open image: its header, and what is in memory of its tables and snapshots. */
import { VmError } from '../../../base/errors.js';
import { RangeLock } from '../../../base/range-lock.js';
import { SECTOR } from '../../contract/driver.js';
import { ioError } from '../../contract/io-error.js';
import type { BlockNode } from '../../contract/node.js';
import { checkQcow2 } from './check.js';
import { clusterBitsOf, Incompatible, parseHeader, type Qcow2Header } from './header.js';
import { Metadata } from './metadata.js';
import { readSnapshots, type Snapshot } from './snapshots.js';

export async function readHeader(file: BlockNode): Promise<Qcow2Header> {
  const head = await file.pread(0, Math.min(512, file.length));
  const bits = clusterBitsOf(head);
  return parseHeader(await file.pread(0, Math.min(2 ** bits, file.length)), file.length);
}

/** Before the first write. */
async function makeSound(file: BlockNode, header: Qcow2Header): Promise<void> {
  if (header.incompatible & Incompatible.CORRUPT) {
    throw new VmError(
      `qcow2: the image of node '${file.name}' is marked corrupt, so it is only opened for reading`,
      { hint: "'colo image check -r all' or qemu-img can repair it" },
    );
  }
  if (header.incompatible & Incompatible.DIRTY) await repairDirty(file, header);
}

async function repairDirty(file: BlockNode, header: Qcow2Header): Promise<void> {
  const { corruptions, messages } = await checkQcow2(file, header, 'all');
  if (corruptions === 0) return;
  throw new VmError(
    `qcow2: the image of node '${file.name}' is marked dirty, and its refcounts could not be ` +
      `made right: ${messages.find(m => m.startsWith('ERROR')) ?? ''}`,
  );
}

interface Loaded {
  readonly metadata: Metadata;
  readonly snapshots: readonly Snapshot[];
}

export class Image {
  /** The mapping changes under it. */
  readonly mapping = new RangeLock();
  /** Clusters that were allocated since it was emptied last. */
  held = 0;
  /** Told when the tables contradict themselves. */
  onCorrupt: (text: string) => void = () => undefined;
  private loaded?: Loaded;

  /** Nothing but its header is known before load(). */
  constructor(
    readonly file: BlockNode,
    public header: Qcow2Header,
    public backing: BlockNode | undefined,
  ) {}

  /** Of the disk. */
  get length(): number {
    return Math.ceil(this.header.size / SECTOR) * SECTOR;
  }

  get isLoaded(): boolean {
    return this.loaded !== undefined;
  }

  get metadata(): Metadata {
    if (this.loaded) return this.loaded.metadata;
    throw ioError(
      'EPERM',
      `the image of node '${this.file.name}' is not this process's to use while the guest is ` +
        'elsewhere',
    );
  }

  get snapshots(): readonly Snapshot[] {
    return this.loaded?.snapshots ?? [];
  }

  /** An image whose writer died with lazy refcounts is repaired first, before it is written. */
  async load(readOnly: boolean): Promise<void> {
    const { file, header } = this;
    if (!readOnly) await makeSound(file, header);
    const snapshots = (await readSnapshots(file, header)).list;
    const metadata = await Metadata.open(file, header, { snapshots, readOnly });
    metadata.onCorrupt = text => this.onCorrupt(text);
    this.loaded = { metadata, snapshots };
  }

  /** Another process had the file: nothing that was read of it before counts. */
  async reload(): Promise<void> {
    const { header: old } = this;
    const header = await readHeader(this.file);
    if (header.backingFile !== old.backingFile || header.backingFormat !== old.backingFormat) {
      throw new VmError(
        `qcow2: the image of node '${this.file.name}' has another backing file than when it was ` +
          'opened here',
      );
    }
    this.header = header;
    try {
      await this.load(false);
    } catch (error) {
      this.header = old;
      throw error;
    }
  }

  /** Nothing waits for a commit. */
  unload(): void {
    this.loaded = undefined;
  }
}
