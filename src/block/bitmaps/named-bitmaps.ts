/**
 * Dirty bitmaps with a name: what was written to a node since the bitmap was added or cleared. In
 * memory; an incremental backup takes one.
 */
import { VmError } from '../../base/errors.js';
import { DirtyBitmap } from './dirty-bitmap.js';
import type { BlockNode } from '../contract/node.js';

const MAX_NAME = 1023;
/** On one node. */
const MAX_BITMAPS = 64;

export class NamedBitmap {
  /** The job that works by it. */
  busy?: string;
  recording: boolean;

  constructor(
    readonly name: string,
    readonly bits: DirtyBitmap,
    recording: boolean,
  ) {
    this.recording = recording;
  }

  mark(offset: number, length: number): void {
    if (this.recording) this.bits.mark(offset, length);
  }

  requireFree(): void {
    if (this.busy !== undefined)
      throw new VmError(
        `Bitmap '${this.name}' is currently in use by ${this.busy} and cannot be changed`,
      );
  }
}

export interface BitmapInfo {
  name: string;
  /** Bytes that are marked. */
  count: number;
  granularity: number;
  recording: boolean;
  busy: boolean;
}

export class NamedBitmaps {
  private readonly byNode = new WeakMap<
    BlockNode,
    Map<string, { bitmap: NamedBitmap; release: () => void }>
  >();

  add(node: BlockNode, name: string, options: { granularity?: number; disabled: boolean }): void {
    const { granularity } = options;
    if (name === '' || name.length > MAX_NAME)
      throw new VmError(`Bitmap name must have from 1 to ${MAX_NAME} characters`);
    if (
      granularity !== undefined &&
      (!Number.isInteger(Math.log2(granularity)) || granularity < 512 || granularity > 2 ** 31)
    )
      throw new VmError('Granularity must be power of 2, from 512 to 2 GiB');
    const all =
      this.byNode.get(node) ?? new Map<string, { bitmap: NamedBitmap; release: () => void }>();
    if (all.has(name)) throw new VmError(`Bitmap already exists: ${name}`);
    if (all.size >= MAX_BITMAPS)
      throw new VmError(`node '${node.name}' has ${MAX_BITMAPS} bitmaps already`);
    const bitmap = new NamedBitmap(
      name,
      new DirtyBitmap(node.length, granularity),
      !options.disabled,
    );
    all.set(name, { bitmap, release: node.track(bitmap) });
    this.byNode.set(node, all);
  }

  get(node: BlockNode, name: string): NamedBitmap {
    const found = this.byNode.get(node)?.get(name);
    if (!found)
      throw new VmError(`Dirty bitmap '${name}' not found`, {
        hint: `block-dirty-bitmap-add makes one on node '${node.name}'.`,
      });
    return found.bitmap;
  }

  remove(node: BlockNode, name: string): void {
    this.get(node, name).requireFree();
    const all = this.byNode.get(node)!;
    all.get(name)!.release();
    all.delete(name);
  }

  clear(node: BlockNode, name: string): void {
    const bitmap = this.get(node, name);
    bitmap.requireFree();
    bitmap.bits.clearAll();
  }

  setRecording(node: BlockNode, name: string, recording: boolean): void {
    const bitmap = this.get(node, name);
    bitmap.requireFree();
    bitmap.recording = recording;
  }

  list(node: BlockNode): BitmapInfo[] {
    return [...(this.byNode.get(node)?.values() ?? [])].map(
      ({ bitmap: { name, bits, recording, busy } }) => ({
        name,
        count: bits.bytes,
        granularity: bits.granularity,
        recording,
        busy: busy !== undefined,
      }),
    );
  }
}
