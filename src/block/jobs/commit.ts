/**
 * Commit of images in the middle of a chain, to which no request writes: their content goes into
 * the base, and the image above them then reads from it.
 */
import type { DirtyBitmap } from '../bitmaps/dirty-bitmap.js';
import type { Clock } from '../../host/ports.js';
import type { BlockNode } from '../contract/node.js';
import { BlockCopy, type CopyPolicies } from './copy.js';
import type { Job, JobDriver } from './job.js';

export interface CommitContext {
  readonly top: BlockNode;
  readonly base: BlockNode;
  readonly todo: DirtyBitmap;
  readonly policies: CopyPolicies;
  readonly clock: Clock;
  prepare(job: Job): Promise<void>;
  /** The image above top, its header and its node, takes base for its backing image. */
  shorten(job: Job): Promise<void>;
  clean(done: boolean): Promise<void>;
}

export class CommitJob implements JobDriver {
  readonly type = 'commit';
  private copy?: BlockCopy;

  constructor(private readonly context: CommitContext) {}

  async run(job: Job): Promise<void> {
    const { top, base, todo, policies, clock } = this.context;
    await this.context.prepare(job);
    this.copy = new BlockCopy(job, top, BlockCopy.into(base), todo, policies, clock);
    await this.copy.run();
    await base.flush();
  }

  finish(job: Job): Promise<void> {
    return this.context.shorten(job);
  }

  async clean(done: boolean): Promise<void> {
    await this.copy?.settle();
    await this.context.clean(done);
  }
}
