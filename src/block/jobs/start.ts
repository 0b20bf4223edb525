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
import type { ErrorPolicy } from '../contract/backend.js';
import type { Job } from './job.js';
import type { BlockJobs } from './jobs.js';
import { MirrorJob } from './mirror.js';
import { openTarget, type TargetOptions } from './target.js';

/** What the layer lends to jobs. */
export interface StartContext {
  readonly host: BlockHost;
  readonly graph: BlockGraph;
  readonly jobs: BlockJobs;
  readonly bitmaps: NamedBitmaps;
  /** A drive or a node; drive: the disk's name, which jobs have by default. */
  resolve(name: string): { node: BlockNode; drive?: string };
  /** VmError: COLO works on the disks. */
  requireFree(): void;
  /** Throws a VmError when the node has a user besides drives, parents and the job. */
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

export interface CopyJobOptions extends CommonOptions {
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
  context: StartContext,
  { device, jobId }: CommonOptions,
): { source: BlockNode; id: string } {
  context.requireFree();
  const { node: source, drive } = context.resolve(device);
  const id = jobId ?? drive;
  if (id === undefined)
    throw new VmError(`An explicit job ID is required for node '${device}'`, {
      hint: 'Say job-id, or the drive in place of the node.',
    });
  context.jobs.check(id, [source]);
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
export async function startMirror(context: StartContext, options: CopyJobOptions): Promise<Job> {
  if (options.bitmapMode !== undefined && options.bitmapMode !== 'on-success')
    throw new VmError("parameter 'bitmap-mode': a mirror takes on-success");
  const prepared = await prepare(context, 'mirror', options);
  const { id, source, target, todo, bitmap, opened, release } = prepared;
  let ownedOld = false;
  const driver = new MirrorJob({
    type: 'mirror',
    source,
    target,
    todo,
    policies: policies(options),
    clock: context.host.clock,
    prepare: job => markFirst(prepared, options, job),
    mayPivot: () => context.mayReplace(source, id),
    pivot: () => {
      context.mayReplace(source, id);
      release(target);
      ownedOld = context.replace(source, target, opened);
    },
    clean: async how => {
      release();
      bitmap?.settle(how !== 'failed');
      if (how === 'pivoted' ? ownedOld : opened)
        await context.graph.close(how === 'pivoted' ? source : target);
    },
  });
  return context.jobs.start(driver, jobOptions(id, options));
}

/** blockdev-backup and drive-backup. */
export async function startBackup(context: StartContext, options: CopyJobOptions): Promise<Job> {
  const prepared = await prepare(context, 'backup', options);
  const { id, source, target, todo, bitmap, opened, release } = prepared;
  const driver = new BackupJob({
    source,
    target,
    todo,
    packed: options.compress ? inRole('image', target)?.unit : undefined,
    onlyOverwritten: options.sync === 'none',
    policies: policies(options),
    clock: context.host.clock,
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
      if (opened) await context.graph.close(target);
    },
  });
  return context.jobs.start(driver, jobOptions(id, options));
}

const policies = ({ onSourceError, onTargetError }: CopyJobOptions) => ({
  onSourceError: onSourceError ?? 'report',
  onTargetError: onTargetError ?? 'report',
});

/** Everything that can be refused is refused here, and then nothing is left open. */
async function prepare(
  context: StartContext,
  type: 'mirror' | 'backup',
  options: CopyJobOptions,
): Promise<Prepared> {
  const { source, id } = sourceOf(context, options);
  const { sync, target: wanted } = options;
  const named = readBitmap(context, source, options);
  const opened = typeof wanted !== 'string';
  const below = sync === 'top' ? backingNode(source) : sync === 'none' ? source : undefined;
  const target = opened
    ? await openTarget(context, wanted, source, below)
    : context.resolve(wanted).node;
  try {
    // The target took time to open.
    context.requireFree();
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
    context.jobs.check(id, [source, target]);
    const todo = new DirtyBitmap(source.length, granularityFor(options, target));
    const bitmap =
      named &&
      new BitmapLoan(
        named,
        todo,
        options.bitmapMode ?? 'on-success',
        `block job '${id}' (${type})`,
      );
    const release = context.jobs.hold(id, type, [
      { node: source, write: false },
      { node: target, write: true },
    ]);
    bitmap?.claim();
    return { id, source, target, opened, todo, bitmap, release };
  } catch (error) {
    if (opened) await context.graph.close(target);
    throw error;
  }
}

function readBitmap(
  context: StartContext,
  source: BlockNode,
  { sync, bitmap, bitmapMode }: CopyJobOptions,
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
  const named = context.bitmaps.get(source, bitmap);
  named.requireFree();
  return named;
}

/**
 * At least a cluster of the target: a piece of one would take the rest from what is not copied yet.
 */
function granularityFor({ granularity = CLUSTER }: CopyJobOptions, target: BlockNode): number {
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
  { sync }: CopyJobOptions,
  job: Job,
): Promise<void> {
  if (bitmap) bitmap.take();
  else if (sync === 'full') todo.mark(0, source.length);
  else if (sync === 'top') await markAllocated([source], todo, () => job.pausePoint());
}
