/**
 * A file in memory for images: it remembers writes and syncs, so that a crash between any two of
 * them can be made up afterwards.
 */
import type { BlockDriver } from '../../src/block/contract/driver.js';
import {
  createQcow2,
  defaultCreateOptions,
  type CreateOptions,
} from '../../src/block/drivers/qcow2/create.js';
import { Qcow2Driver } from '../../src/block/drivers/qcow2/driver.js';
import { readHeader } from '../../src/block/drivers/qcow2/image.js';
import { BlockNode } from '../../src/block/contract/node.js';

export type Step =
  | { kind: 'write'; offset: number; data: Buffer }
  | { kind: 'resize'; length: number }
  | { kind: 'sync' };

export class LoggedFile implements BlockDriver {
  readonly format = 'file';
  readonly readOnly = false;
  readonly steps: Step[] = [];
  constructor(
    public data: Buffer = Buffer.alloc(0),
    private readonly start: Buffer = Buffer.from(data),
  ) {}
  get length() {
    return this.data.length;
  }
  async pread(offset: number, length: number) {
    return Buffer.from(this.data.subarray(offset, offset + length));
  }
  async pwrite(offset: number, data: Uint8Array) {
    this.steps.push({ kind: 'write', offset, data: Buffer.from(data) });
    this.data.set(data, offset);
  }
  async flush() {
    this.steps.push({ kind: 'sync' });
  }
  discard(offset: number, length: number) {
    return this.pwrite(offset, Buffer.alloc(length));
  }
  writeZeroes(offset: number, length: number) {
    return this.pwrite(offset, Buffer.alloc(length));
  }
  async resize(length: number) {
    this.steps.push({ kind: 'resize', length });
    this.data = resized(this.data, length);
  }
  async close() {
    // nothing to give back
  }
  describe() {
    return {};
  }

  /**
   * After a loss of power behind step n: what was synced is there; of the rest every sector may be
   * old or new, as `keep` says.
   */
  crashed(n: number, keep: () => boolean): Buffer {
    let image = Buffer.from(this.start);
    const past = this.steps.slice(0, n);
    const synced = past.map(s => s.kind).lastIndexOf('sync');
    past.forEach((step, index) => {
      if (step.kind === 'resize') image = resized(image, step.length);
      if (step.kind !== 'write') return;
      for (let at = 0; at < step.data.length; at += 512)
        if (index < synced || keep()) image.set(step.data.subarray(at, at + 512), step.offset + at);
    });
    return image;
  }
}

const resized = (data: Buffer, length: number) =>
  length <= data.length ? Buffer.from(data.subarray(0, length)) : Buffer.concat([data], length);

export async function newImage(
  options: Partial<CreateOptions> & { size: number },
  file = new LoggedFile(),
): Promise<BlockNode> {
  const node = new BlockNode('file', file);
  await createQcow2(node, { ...defaultCreateOptions, ...options });
  return node;
}

export async function openImage(
  file: BlockNode | Buffer,
  options: { readOnly?: boolean; backing?: BlockNode } = {},
): Promise<{ node: BlockNode; driver: Qcow2Driver }> {
  const below = file instanceof BlockNode ? file : new BlockNode('file', new LoggedFile(file));
  const driver = await Qcow2Driver.open(below, await readHeader(below), {
    readOnly: options.readOnly ?? false,
    backing: options.backing,
  });
  return { node: new BlockNode('qcow2', driver), driver };
}
