/**
 * The commands that shorten a backing chain: block-commit moves content down into a base,
 * block-stream up into the disk.
 */
import { VmError } from '../../base/errors.js';
import { DirtyBitmap } from '../bitmaps/dirty-bitmap.js';
import { CLUSTER, isOverlay } from '../contract/driver.js';
import { inRole } from '../contract/roles.js';
import type { BlockNode } from '../contract/node.js';
import { backingNode, chainAbove, markAllocated, requireNoLiveBitmaps } from '../graph/chain.js';
import { CommitJob } from './commit.js';
import type { ErrorPolicy } from '../contract/backend.js';
import { atRest } from './deadline.js';
import type { Job } from './job.js';
import { MirrorJob } from './mirror.js';
import { type CommonOptions, type StartContext, jobOptions, sourceOf } from './start.js';
import { StreamJob } from './stream.js';
import { filenameOf, nodeOfFile, pathFrom } from '../graph/filename.js';

export interface CommitOptions extends CommonOptions {
  /** By file name, as the images call it, or by node; the active layer. */
  readonly top?: string;
  readonly topNode?: string;
  /** The image at the bottom of the chain. */
  readonly base?: string;
  readonly baseNode?: string;
  /** What the image above calls its new backing file. */
  readonly backingFile?: string;
  readonly onError?: ErrorPolicy;
}

export type StreamOptions = Omit<CommitOptions, 'top' | 'topNode'>;

/** One node of a chain, by the name of its node or of its file. */
function pick(
  chain: readonly BlockNode[],
  parameter: string,
  file: string | undefined,
  name: string | undefined,
): BlockNode | undefined {
  if (file !== undefined && name !== undefined)
    throw new VmError(
      `'${parameter}-node' and '${parameter}' cannot be specified at the same time`,
    );
  if (file === undefined && name === undefined) return undefined;
  const node =
    name === undefined ? nodeOfFile(chain, file!) : chain.find(found => found.name === name);
  if (!node)
    throw new VmError(
      `${parameter} '${file ?? name}' is not in the backing chain of node '${chain[0].name}'`,
    );
  return node;
}

const policiesOf = ({ onError = 'report' }: { onError?: ErrorPolicy }) => ({
  onSourceError: onError,
  onTargetError: onError,
});

/** Whole clusters of the image that is written. */
const bitmapFor = (source: BlockNode, written: BlockNode) =>
  new DirtyBitmap(source.length, Math.max(CLUSTER, inRole('image', written)?.unit ?? 0));

/** Images whose content is invalid after the job: only the image above may read them. */
function requireAlone(chain: readonly BlockNode[]): void {
  for (let n = 1; n < chain.length; n++) {
    const others = chain[n].userLabels.filter(label => label !== `node '${chain[n - 1].name}'`);
    if (others.length > 0)
      throw new VmError(`node '${chain[n].name}' is also used by ${others.join(', ')}`);
  }
}

export async function startCommit(context: StartContext, options: CommitOptions): Promise<Job> {
  const { source: active, id } = sourceOf(context, options);
  const chain = chainAbove(active, undefined);
  const top = pick(chain, 'top', options.top, options.topNode) ?? active;
  const base = pick(chain, 'base', options.base, options.baseNode) ?? chain[chain.length - 1];
  if (top === base)
    throw new VmError(
      `node '${top.name}' cannot be committed into itself`,
      chain.length === 1 ? { hint: 'It has no backing image.' } : {},
    );
  const above = chainAbove(top, base);
  if (chain.indexOf(base) < chain.indexOf(top))
    throw new VmError(`base '${base.name}' is not below top '${top.name}'`);
  if (top === active && options.backingFile !== undefined)
    throw new VmError("'backing-file' specified, but 'top' is the active layer");
  const overlay = top === active ? undefined : chain[chain.indexOf(top) - 1];
  requireAlone(overlay ? [overlay, ...above, base] : [...above, base]);
  context.jobs.check(id, [...above, base, ...(overlay ? [overlay] : [])]);
  if (overlay) requireBackingChange(overlay);
  requireNoLiveBitmaps(base);
  const undoReopen = await openForWriting(context, base);
  try {
    context.requireFree();
    const held = [...above, ...(overlay ? [overlay] : [])].map(node => ({ node, write: false }));
    const release = context.jobs.hold(id, 'commit', [...held, { node: base, write: true }]);
    const work = { context, id, top, base, above, overlay, release, undoReopen, options };
    return context.jobs.start(
      overlay ? commitBelow({ ...work, overlay }) : commitActive(work),
      jobOptions(id, options),
    );
  } catch (error) {
    await undoReopen();
    throw error;
  }
}

interface CommitWork {
  readonly context: StartContext;
  readonly id: string;
  readonly top: BlockNode;
  readonly base: BlockNode;
  readonly above: readonly BlockNode[];
  readonly overlay?: BlockNode;
  readonly options: CommitOptions;
  release(node?: BlockNode): void;
  undoReopen(): Promise<void>;
}

function commitActive({
  context,
  id,
  top,
  base,
  above,
  options,
  release,
  undoReopen,
}: CommitWork): MirrorJob {
  const todo = bitmapFor(top, base);
  let ownedOld = false;
  return new MirrorJob({
    type: 'commit',
    source: top,
    target: base,
    todo,
    policies: policiesOf(options),
    clock: context.host.clock,
    prepare: job => markForBase(above, base, todo, job),
    mayPivot: () => context.mayReplace(top, id),
    pivot: () => {
      context.mayReplace(top, id);
      release(base);
      ownedOld = context.replace(top, base, isOwned(context, base));
    },
    clean: async how => {
      release();
      if (how !== 'pivoted') await undoReopen();
      else if (ownedOld) await context.graph.close(top);
    },
  });
}

function commitBelow({
  context,
  top,
  base,
  above,
  overlay,
  options,
  release,
  undoReopen,
}: CommitWork & { overlay: BlockNode }): CommitJob {
  const todo = bitmapFor(top, base);
  const owned = isOwned(context, top);
  return new CommitJob({
    top,
    base,
    todo,
    policies: policiesOf(options),
    clock: context.host.clock,
    prepare: job => markForBase(above, base, todo, job),
    shorten: () => changeBacking(context, overlay, base, options.backingFile),
    clean: async done => {
      release();
      await undoReopen();
      if (done && owned) await context.graph.close(top);
    },
  });
}

async function markForBase(
  above: readonly BlockNode[],
  base: BlockNode,
  todo: DirtyBitmap,
  job: Job,
): Promise<void> {
  if (base.length < above[0].length) await base.resize(above[0].length);
  await markAllocated(above, todo, () => job.pausePoint());
}

export async function startStream(context: StartContext, options: StreamOptions): Promise<Job> {
  const { source: node, id } = sourceOf(context, options);
  const chain = chainAbove(node, undefined);
  const base = pick(chain, 'base', options.base, options.baseNode);
  if (base === node) throw new VmError(`node '${node.name}' cannot be its own base`);
  if (options.backingFile !== undefined && !base)
    throw new VmError('backing file specified without base');
  if (node.readOnly) throw new VmError(`node '${node.name}' is read-only`);
  const old = backingNode(node);
  const between = old && old !== base ? chainAbove(old, base) : [];
  if (old) requireBackingChange(node);
  context.jobs.check(id, [node, ...between]);
  const todo = bitmapFor(node, node);
  const release = context.jobs.hold(
    id,
    'stream',
    [node, ...between].map(held => ({ node: held, write: false })),
  );
  const owned = old !== undefined && isOwned(context, old);
  const driver = new StreamJob({
    node,
    todo,
    policies: policiesOf(options),
    clock: context.host.clock,
    prepare: async job => {
      if (between.length > 0) await markAllocated(between, todo, () => job.pausePoint());
    },
    shorten: async () => {
      if (between.length > 0) await changeBacking(context, node, base, options.backingFile);
    },
    clean: async done => {
      release();
      if (done && owned && between.length > 0) await context.graph.close(old);
    },
  });
  return context.jobs.start(driver, jobOptions(id, options));
}

/** In its header first: if we die in between, the image still reads the same. */
async function changeBacking(
  context: StartContext,
  node: BlockNode,
  backing: BlockNode | undefined,
  name: string | undefined,
): Promise<void> {
  const image = inRole('image', node);
  const owned = backing !== undefined && isOwned(context, backing);
  if (image) {
    const undo = await openForWriting(context, node);
    const file = backing && (name ?? pathFrom(filenameOf(node), filenameOf(backing)));
    await image.setBackingFile(file, backing?.driver.format).finally(undo);
  }
  await atRest(context.host.clock, node, async () =>
    context.graph.setChild(node, 'backing', backing, owned),
  );
}

function requireBackingChange(node: BlockNode): void {
  if (!isOverlay(node.driver))
    throw new VmError(
      `node '${node.name}' (${node.driver.format}) cannot change its backing image`,
    );
  if (inRole('image', node)) filenameOf(node);
}

/** The node is the child of another one, and is closed with it. */
const isOwned = (context: StartContext, node: BlockNode) =>
  context.graph.parentsOf(node).some(({ owned }) => owned);

/** Returns the way back. */
async function openForWriting(
  { host, graph }: StartContext,
  node: BlockNode,
): Promise<() => Promise<void>> {
  if (!node.readOnly) return () => Promise.resolve();
  await atRest(host.clock, node, () => graph.reopen(node, false));
  return () => atRest(host.clock, node, () => graph.reopen(node, true));
}
