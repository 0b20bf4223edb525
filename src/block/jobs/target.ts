/**
 * The target of drive-mirror and drive-backup: a file, made new or existing, or an export of an NBD
 * server, by its name.
 */
import { VmError } from '../../base/errors.js';
import { filenameOf, pathFrom } from '../graph/filename.js';
import { defaultCreateOptions } from '../drivers/qcow2/create.js';
import { inRole } from '../contract/roles.js';
import { type BlockGraph, type BlockHost } from '../graph/graph.js';
import { checkedFormat, createImage, type Format, probeFormat } from '../image/open.js';
import type { BlockNode } from '../contract/node.js';
import { readNbdUri } from '../options/nbd.js';
import { isNbdUri } from '../options/nbd-uri.js';
import { OptionTree } from '../options/option-tree.js';
import type { NodeSpec } from '../options/options.js';

export const targetModes = ['absolute-paths', 'existing'] as const;

export interface TargetOptions {
  readonly target: string;
  readonly format?: string;
  readonly mode: (typeof targetModes)[number];
  readonly nodeName?: string;
}

export interface TargetContext {
  readonly host: BlockHost;
  readonly graph: BlockGraph;
}

/**
 * backing: the node that the new image is laid over, if what it does not hold is to be read from
 * there.
 */
export async function openTarget(
  context: TargetContext,
  options: TargetOptions,
  source: BlockNode,
  backing: BlockNode | undefined,
): Promise<BlockNode> {
  const { target, mode, nodeName } = options;
  if (isNbdUri(target)) {
    if (mode !== 'existing')
      throw new VmError(`target '${target}': an NBD export is not made by its client`, {
        hint: "Say mode=existing (-n in HMP): the server's disk is there already.",
      });
    return context.graph.build(
      withFormat(
        options.format,
        { ...readNbdUri(target, OptionTree.from({})), readOnly: false },
        nodeName,
      ),
    );
  }
  const filename = target.startsWith('file:') ? target.slice('file:'.length) : target;
  const protocol = /^([a-z][a-z0-9+-]+):/.exec(filename)?.[1];
  if (protocol !== undefined)
    throw new VmError(
      `target '${target}': protocol '${protocol}' is not implemented; a file name, file:NAME ` +
        'and nbd://HOST:PORT/EXPORT are',
    );
  const format = await formatOf(context, options, source, filename);
  if (mode === 'absolute-paths') await create(context, filename, format, source, backing);
  const file: NodeSpec = { driver: 'file', filename, readOnly: false, lock: 'auto' };
  if (format === 'raw')
    return context.graph.build({ driver: 'raw', readOnly: false, nodeName, file, probed: false });
  return context.graph.build({
    driver: 'qcow2',
    readOnly: false,
    nodeName,
    file,
    backing: backing && { reference: backing.name },
  });
}

function withFormat(
  format: string | undefined,
  protocol: NodeSpec,
  nodeName: string | undefined,
): NodeSpec {
  const checked = checkedFormat(format ?? 'raw');
  return checked === 'raw'
    ? { driver: 'raw', readOnly: false, nodeName, file: protocol, probed: false }
    : { driver: 'qcow2', readOnly: false, nodeName, file: protocol };
}

async function formatOf(
  { host }: TargetContext,
  { format, mode }: TargetOptions,
  source: BlockNode,
  filename: string,
): Promise<Format> {
  if (format !== undefined) return checkedFormat(format);
  if (mode === 'existing') return probeFormat(host, filename);
  return inRole('image', source) ? 'qcow2' : 'raw';
}

async function create(
  { host }: TargetContext,
  filename: string,
  format: Format,
  source: BlockNode,
  backing: BlockNode | undefined,
): Promise<void> {
  if (backing && format === 'raw')
    throw new VmError('a raw target cannot leave anything to a backing image', {
      hint: 'Say format=qcow2, or sync=full.',
    });
  const names = backing && {
    backingFile: pathFrom(filename, filenameOf(backing)),
    backingFormat: backing.driver.format,
  };
  await createImage(host, filename, format, {
    ...defaultCreateOptions,
    size: source.length,
    ...names,
  });
}
