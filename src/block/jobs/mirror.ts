/**
 * Mirror, and the commit of a disk in use: copies what is marked, and marks again what the guest
 * writes during the copy. When both are equal it keeps them so until the user ends it: the target
 * takes the source's place, or stays as a copy of that moment.
 */
import type { JobType } from '../../qapi/types.js';
import type { DirtyBitmap } from '../bitmaps/dirty-bitmap.js';
import type { Clock } from '../../host/ports.js';
import type { BlockNode } from '../contract/node.js';
import { BlockCopy, type CopyPolicies } from './copy.js';
import { LateError, withDeadline } from './deadline.js';
import type { Job, JobDriver } from './job.js';

/**
 * The longest time that the guest's requests wait while the last bytes are copied and the disks
 * change places; if it is not enough, this is tried again later.
 */
const HAND_OVER_MS = 5000;

export interface MirrorContext {
  readonly type: Extract<JobType, 'mirror' | 'commit'>;
  readonly source: BlockNode;
  readonly target: BlockNode;
  readonly todo: DirtyBitmap;
  readonly policies: CopyPolicies;
  readonly clock: Clock;
  /** Before anything is copied: what changes from now on is marked already. */
  prepare(job: Job): Promise<void>;
  /** VmError: the target cannot take the source's place, and why. */
  mayPivot(): void;
  /** The target takes it; nothing reads or changes the source. */
  pivot(): void;
  clean(how: 'pivoted' | 'copied' | 'failed'): Promise<void>;
}

export class MirrorJob implements JobDriver {
  private copy?: BlockCopy;
  private untrack: () => void = () => undefined;
  private pivoted = false;

  constructor(private readonly context: MirrorContext) {}

  get type() {
    return this.context.type;
  }

  mayComplete(): void {
    this.context.mayPivot();
  }

  async run(job: Job): Promise<void> {
    const { source, target, todo, policies, clock } = this.context;
    this.untrack = source.track({
      mark: (offset, length) => {
        todo.mark(offset, length);
        job.wake();
      },
    });
    await this.context.prepare(job);
    const copy = (this.copy = new BlockCopy(
      job,
      source,
      BlockCopy.into(target),
      todo,
      policies,
      clock,
    ));
    await copy.run();
    await target.flush();
    job.becomeReady();
    while (!job.wanted) {
      await copy.run();
      await job.pausePoint();
      if (!job.wanted && todo.count === 0) await job.doze();
    }
    await copy.run();
    await target.flush();
  }

  async finish(job: Job): Promise<void> {
    for (;;) {
      await this.copy!.run();
      try {
        return await this.handOver(job);
      } catch (error) {
        if (!(error instanceof LateError)) throw error;
        await job.pausePoint();
      }
    }
  }

  async clean(done: boolean): Promise<void> {
    this.untrack();
    await this.copy?.stop();
    await this.context.clean(!done ? 'failed' : this.pivoted ? 'pivoted' : 'copied');
  }

  /** At this moment no request changes the source, and the target has all of it. */
  private async handOver(job: Job): Promise<void> {
    const { source, target, clock } = this.context;
    await withDeadline(clock, HAND_OVER_MS, `node '${source.name}' did not come to rest`, late =>
      source.quiesce('changes', late, async () => {
        const equal = this.copy!.rest().then(() => target.flush());
        equal.catch(() => undefined);
        await Promise.race([equal, late]);
        if (job.wanted !== 'complete') return;
        await source.quiesce('reads', late, async () => this.context.pivot());
        this.pivoted = true;
      }),
    );
  }
}
