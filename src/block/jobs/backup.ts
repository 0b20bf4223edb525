/**
 * Backup: the source as it is when the job starts, whatever the guest writes afterwards. A change
 * waits until the old content of its clusters is in the target. If that fails or takes too long the
 * backup is lost, never the guest's write.
 */
import { asVmError, VmError } from '../../base/errors.js';
import type { DirtyBitmap } from '../bitmaps/dirty-bitmap.js';
import type { Clock } from '../../host/ports.js';
import type { BlockNode, Interceptor } from '../contract/node.js';
import { BlockCopy, type CopyPolicies } from './copy.js';
import { withDeadline } from './deadline.js';
import type { Job, JobDriver } from './job.js';

/** The longest time that a guest's write waits for the target. */
const COPY_BEFORE_WRITE_MS = 5000;
/** Until the guest's requests under way are through, at the start. */
const START_MS = 5000;

export interface BackupContext {
  readonly source: BlockNode;
  readonly target: BlockNode;
  /** What is to be in the target. */
  readonly todo: DirtyBitmap;
  /** Clusters of the target are packed; of what size they are. */
  readonly packed?: number;
  /** sync=none: only what the guest overwrites. */
  readonly onlyOverwritten: boolean;
  readonly policies: CopyPolicies;
  readonly clock: Clock;
  /** The moment that is backed up: nothing changes the source. */
  begin(): void;
  prepare(job: Job): Promise<void>;
  /** left: marks what was not copied. */
  clean(done: boolean, left: DirtyBitmap): Promise<void>;
}

export class BackupJob implements JobDriver, Interceptor {
  readonly type = 'backup';
  private copy!: BlockCopy;
  private unhook: () => void = () => undefined;

  constructor(private readonly context: BackupContext) {}

  async run(job: Job): Promise<void> {
    const { source, target, todo, policies, clock, packed, onlyOverwritten } = this.context;
    this.copy = new BlockCopy(
      job,
      source,
      packed === undefined ? BlockCopy.into(target) : BlockCopy.packed(target, packed),
      todo,
      policies,
      clock,
    );
    await withDeadline(clock, START_MS, `node '${source.name}' did not come to rest`, late =>
      source.quiesce('changes', late, async () => {
        this.context.begin();
        this.unhook = source.hook(this);
      }),
    );
    await this.context.prepare(job);
    while (onlyOverwritten && !this.copy.broken) {
      await job.pausePoint();
      await job.doze();
    }
    await this.copy.run();
    await target.flush();
  }

  /** The target is durable; the bitmap, if there is one, forgets what it holds. */
  async finish(): Promise<void> {
    this.unhook();
  }

  async clean(done: boolean): Promise<void> {
    this.unhook();
    await this.copy?.stop();
    await this.context.clean(done, this.context.todo);
  }

  /** Copy-before-write. */
  async around(offset: number, length: number, write: () => Promise<void>): Promise<void> {
    await this.save(offset, length);
    await write();
  }

  private async save(offset: number, length: number): Promise<void> {
    if (this.copy.broken) return;
    const saved = this.copy.ahead(offset, length);
    saved.catch(() => undefined);
    await withDeadline(
      this.context.clock,
      COPY_BEFORE_WRITE_MS,
      'the target did not take it',
      late => Promise.race([saved, late]),
    ).catch((error: unknown) => {
      const { name } = this.context.source;
      this.copy.fail(
        new VmError(
          `the old content of ${length} bytes at ${offset} of node '${name}' could not be ` +
            `saved before they were overwritten: ${asVmError(error).message}`,
          { cause: error },
        ),
      );
    });
  }
}
