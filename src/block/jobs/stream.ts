/**
 * Stream: a disk takes over what it reads from the images below it, down to a base, and then does
 * without them. The guest goes on writing.
 */
import type { DirtyBitmap } from '../bitmaps/dirty-bitmap.js';
import type { Clock } from '../../host/ports.js';
import type { BlockNode, Interceptor } from '../contract/node.js';
import { RangeLock } from '../../base/range-lock.js';
import { allocatedIn } from '../graph/chain.js';
import { BlockCopy, type CopyPolicies } from './copy.js';
import type { Job, JobDriver } from './job.js';

export interface StreamContext {
  readonly node: BlockNode;
  readonly todo: DirtyBitmap;
  readonly policies: CopyPolicies;
  readonly clock: Clock;
  prepare(job: Job): Promise<void>;
  /** The node, and its image's header, takes the base for its backing image, or none. */
  shorten(job: Job): Promise<void>;
  clean(done: boolean): Promise<void>;
}

export class StreamJob implements JobDriver, Interceptor {
  readonly type = 'stream';
  private copy?: BlockCopy;
  private unhook: () => void = () => undefined;
  /** The guest's changes share; taking over is alone, for it must not put old content over new. */
  private readonly lock = new RangeLock();

  constructor(private readonly context: StreamContext) {}

  async run(job: Job): Promise<void> {
    const { node, todo, policies, clock } = this.context;
    this.unhook = node.hook(this);
    await this.context.prepare(job);
    this.copy = new BlockCopy(
      job,
      node,
      { write: (offset, length, data) => this.takeOver(offset, length, data), unit: 1 },
      todo,
      policies,
      clock,
    );
    await this.copy.run();
    await node.flush();
  }

  finish(job: Job): Promise<void> {
    return this.context.shorten(job);
  }

  async clean(done: boolean): Promise<void> {
    this.unhook();
    await this.copy?.settle();
    await this.context.clean(done);
  }

  around(offset: number, length: number, write: () => Promise<void>): Promise<void> {
    const { unit, start } = this.clusters(offset, length);
    return this.lock.run(start, unit, 'shared', write);
  }

  /**
   * The content does not change, so the write goes to the driver and no listener is called. What
   * the node got in between stays.
   */
  private takeOver(offset: number, length: number, data: Buffer | undefined): Promise<void> {
    const { node } = this.context;
    const { unit, start } = this.clusters(offset, length);
    return this.lock.run(start, unit, 'exclusive', async () => {
      for (let at = offset; at < offset + length;) {
        const own = await allocatedIn([node], at, offset + length - at);
        if (!own.allocated && data)
          await node.driver.pwrite(at, data.subarray(at - offset, at - offset + own.length), false);
        else if (!own.allocated) await node.driver.writeZeroes(at, own.length);
        at += own.length;
      }
    });
  }

  private clusters(offset: number, length: number): { start: number; unit: number } {
    const { granularity } = this.context.todo;
    const start = offset - (offset % granularity);
    return { start, unit: Math.ceil((offset + length) / granularity) * granularity - start };
  }
}
