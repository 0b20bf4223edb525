/**
 * The commands that start jobs: which nodes, what to copy first, and what happens to the graph when
 * it is done.
 */
import { VmError } from '../../base/errors.js';
import type { NamedBitmaps } from '../bitmaps/named-bitmaps.js';
import { DirtyBitmap } from '../bitmaps/dirty-bitmap.js';
import { CLUSTER } from '../contract/driver.js';
import { inRole } from '../contract/roles.js';
import type { BlockGraph, BlockHost } from '../graph/graph.js';
import type { BlockNode } from '../contract/node.js';
import { BackupJob } from './backup.js';
import { BitmapLoan, type bitmapModes } from './bitmap-loan.js';
import { backingNode, isBelow, markAllocated } from '../graph/chain.js';
import type { ErrorPolicy } from './contract.js';
import type { Job } from './job.js';
import type { BlockJobs } from './jobs.js';
import { MirrorJob } from './mirror.js';
import { openTarget, type TargetOptions } from './target.js';

/** What the layer lends to jobs. */
export interface JobGround {
  readonly host: BlockHost;
  readonly graph: BlockGraph;
  readonly jobs: BlockJobs;
  readonly bitmaps: NamedBitmaps;
  /** A drive or a node; drive: the disk's name, which jobs have by default. */
  resolve(name: string): { node: BlockNode; drive?: string };
  /** VmError: COLO works on the disks. */
  requireFree(): void;
  /** VmError: somebody besides drives, parents and the job holds the node. */
  mayReplace(from: BlockNode, job: string): void;
  /**
   * Drives and parents of one node take another. owned: it goes with them. Returns whether they
   * owned the old one.
   */
  replace(from: BlockNode, to: BlockNode, owned: boolean): boolean;
}

export interface CommonOptions {
  readonly device: string;
  readonly jobId?: string;
  readonly speed?: number;
  readonly autoFinalize?: boolean;
  readonly autoDismiss?: boolean;
}

export const syncModes = ['full', 'top', 'none', 'incremental', 'bitmap'] as const;

export interface CopyOptions extends CommonOptions {
  readonly sync: (typeof syncModes)[number];
  readonly bitmap?: string;
  readonly bitmapMode?: (typeof bitmapModes)[number];
  readonly granularity?: number;
  /** Of a backup: into clusters that are packed. */
  readonly compress?: boolean;
  readonly onSourceError?: ErrorPolicy;
  readonly onTargetError?: ErrorPolicy;
  /** A node that exists, or one to open. */
  readonly target: string | TargetOptions;
}

export const jobOptions = (id: string, { speed, autoFinalize, autoDismiss }: CommonOptions) => ({
  id,
  speed: speed ?? 0,
  autoFinalize: autoFinalize ?? true,
  autoDismiss: autoDismiss ?? true,
});

/** The source of a job, and the id that the job has. */
export function sourceOf(
  ground: JobGround,
  { device, jobId }: CommonOptions,
): { source: BlockNode; id: string } {
  ground.requireFree();
  const { node: source, drive } = ground.resolve(device);
  const id = jobId ?? drive;
  if (id === undefined)
    throw new VmError(`An explicit job ID is required for node '${device}'`, {
      hint: 'Say job-id, or the drive in place of the node.',
    });
  ground.jobs.check(id, [source]);
  return { source, id };
}

interface Prepared {
  readonly id: string;
  readonly source: BlockNode;
  readonly target: BlockNode;
  /** Opened for the job: closed with it, unless it became the disk. */
  readonly opened: boolean;
  readonly todo: DirtyBitmap;
  readonly bitmap?: BitmapLoan;
  release(node?: BlockNode): void;
}

/** blockdev-mirror and drive-mirror. */
export async function startMirror(ground: JobGround, options: CopyOptions): Promise<Job> {
  if (options.bitmapMode !== undefined && options.bitmapMode !== 'on-success')
    throw new VmError("parameter 'bitmap-mode': a mirror takes on-success");
  const parts = await prepare(ground, 'mirror', options);
  const { id, source, target, todo, bitmap, opened, release } = parts;
  let ownedOld = false;
  const driver = new MirrorJob({
    type: 'mirror',
    source,
    target,
    todo,
    policies: policies(options),
    clock: ground.host.clock,
    prepare: job => markFirst(parts, options, job),
    mayPivot: () => ground.mayReplace(source, id),
    pivot: () => {
      ground.mayReplace(source, id);
      release(target);
      ownedOld = ground.replace(source, target, opened);
    },
    clean: async how => {
      release();
      bitmap?.settle(how !== 'failed');
      if (how === 'pivoted' ? ownedOld : opened)
        await ground.graph.close(how === 'pivoted' ? source : target);
    },
  });
  return ground.jobs.start(driver, jobOptions(id, options));
}

/** blockdev-backup and drive-backup. */
export async function startBackup(ground: JobGround, options: CopyOptions): Promise<Job> {
  const parts = await prepare(ground, 'backup', options);
  const { id, source, target, todo, bitmap, opened, release } = parts;
  const driver = new BackupJob({
    source,
    target,
    todo,
    packed: options.compress ? inRole('image', target)?.unit : undefined,
    onlyOverwritten: options.sync === 'none',
    policies: policies(options),
    clock: ground.host.clock,
    begin: () => {
      // sync=top: until it is known what the image holds, everything might have to be saved.
      if (bitmap) bitmap.take();
      else todo.mark(0, source.length);
    },
    prepare: async job => {
      if (options.sync !== 'top') return;
      const held = new DirtyBitmap(source.length, todo.granularity);
      await markAllocated([source], held, () => job.pausePoint());
      todo.retain(held);
    },
    clean: async done => {
      release();
      bitmap?.settle(done);
      if (opened) await ground.graph.close(target);
    },
  });
  return ground.jobs.start(driver, jobOptions(id, options));
}

const policies = ({ onSourceError, onTargetError }: CopyOptions) => ({
  onSourceError: onSourceError ?? 'report',
  onTargetError: onTargetError ?? 'report',
});

/** Everything that can be refused is refused here, and then nothing is left open. */
async function prepare(
  ground: JobGround,
  type: 'mirror' | 'backup',
  options: CopyOptions,
): Promise<Prepared> {
  const { source, id } = sourceOf(ground, options);
  const { sync, target: wanted } = options;
  const named = readBitmap(ground, source, options);
  const opened = typeof wanted !== 'string';
  const below = sync === 'top' ? backingNode(source) : sync === 'none' ? source : undefined;
  const target = opened
    ? await openTarget(ground, wanted, source, below)
    : ground.resolve(wanted).node;
  try {
    // The target took time to open.
    ground.requireFree();
    if (isBelow(target, source))
      throw new VmError(
        `node '${target.name}' is part of '${options.device}' and cannot be the target`,
      );
    if (target.length !== source.length)
      throw new VmError(
        `Source and target image have different sizes: ${source.length} and ${target.length} bytes`,
      );
    if (options.compress && !target.driver.writeCompressed)
      throw new VmError(
        `Compression is not supported for this drive: node '${target.name}' is ` +
          `${target.driver.format}`,
        { hint: 'format=qcow2 has it.' },
      );
    ground.jobs.check(id, [source, target]);
    const todo = new DirtyBitmap(source.length, granularityFor(options, target));
    const bitmap =
      named &&
      new BitmapLoan(
        named,
        todo,
        options.bitmapMode ?? 'on-success',
        `block job '${id}' (${type})`,
      );
    const release = ground.jobs.hold(id, type, [
      { node: source, write: false },
      { node: target, write: true },
    ]);
    bitmap?.claim();
    return { id, source, target, opened, todo, bitmap, release };
  } catch (error) {
    if (opened) await ground.graph.close(target);
    throw error;
  }
}

function readBitmap(
  ground: JobGround,
  source: BlockNode,
  { sync, bitmap, bitmapMode }: CopyOptions,
) {
  const byBitmap = sync === 'incremental' || sync === 'bitmap';
  if (byBitmap && bitmap === undefined) throw new VmError(`sync=${sync} needs parameter 'bitmap'`);
  if (!byBitmap && bitmap !== undefined)
    throw new VmError(
      `parameter 'bitmap' goes with sync=incremental or sync=bitmap, not with sync=${sync}`,
    );
  if (sync === 'bitmap' && bitmapMode === undefined)
    throw new VmError("sync=bitmap needs parameter 'bitmap-mode'");
  if (
    bitmapMode !== undefined &&
    (!byBitmap || (sync === 'incremental' && bitmapMode !== 'on-success'))
  )
    throw new VmError(`parameter 'bitmap-mode' cannot be ${bitmapMode} with sync=${sync}`);
  if (bitmap === undefined) return undefined;
  const named = ground.bitmaps.get(source, bitmap);
  named.requireFree();
  return named;
}

/**
 * At least a cluster of the target: a piece of one would take the rest from what is not copied yet.
 */
function granularityFor({ granularity = CLUSTER }: CopyOptions, target: BlockNode): number {
  if (
    !Number.isInteger(Math.log2(granularity)) ||
    granularity < 512 ||
    granularity > 64 * 1024 * 1024
  )
    throw new VmError("Parameter 'granularity' expects a power of 2 in range [512B, 64MB]");
  return Math.max(granularity, inRole('image', target)?.unit ?? 0);
}

async function markFirst(
  { source, todo, bitmap }: Prepared,
  { sync }: CopyOptions,
  job: Job,
): Promise<void> {
  if (bitmap) bitmap.take();
  else if (sync === 'full') todo.mark(0, source.length);
  else if (sync === 'top') await markAllocated([source], todo, () => job.pausePoint());
}
