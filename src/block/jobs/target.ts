/**
 * The target of drive-mirror and drive-backup: a file, made new or existing, or an export of an NBD
 * server, by its name.
 */
import { posix } from 'node:path';
import { VmError } from '../../base/errors.js';
import { nextTo } from '../backing.js';
import { defaultCreateOptions } from '../drivers/qcow2/create.js';
import { Qcow2Driver } from '../drivers/qcow2/driver.js';
import { FileDriver } from '../drivers/file.js';
import { type BlockGraph, type BlockHost } from '../graph.js';
import { checkedFormat, createImage, type Format, probeFormat } from '../image/open.js';
import { type BlockNode, protocolOf } from '../node.js';
import { readNbdUri } from '../nbd/options.js';
import { isNbdUri } from '../nbd/uri.js';
import { OptionTree } from '../option-tree.js';
import type { NodeSpec } from '../options.js';

export const targetModes = ['absolute-paths', 'existing'] as const;

export interface TargetOptions {
  readonly target: string;
  readonly format?: string;
  readonly mode: (typeof targetModes)[number];
  readonly nodeName?: string;
}

export interface TargetHost {
  readonly host: BlockHost;
  readonly graph: BlockGraph;
}

/**
 * backing: the node that the new image is laid over, if what it does not hold is to be read from
 * there.
 */
export async function openTarget(
  world: TargetHost,
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
    return world.graph.build(
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
  const format = await formatOf(world, options, source, filename);
  if (mode === 'absolute-paths') await create(world, filename, format, source, backing);
  const file: NodeSpec = { driver: 'file', filename, readOnly: false, lock: 'auto' };
  if (format === 'raw')
    return world.graph.build({ driver: 'raw', readOnly: false, nodeName, file, probed: false });
  return world.graph.build({
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
  { host }: TargetHost,
  { format, mode }: TargetOptions,
  source: BlockNode,
  filename: string,
): Promise<Format> {
  if (format !== undefined) return checkedFormat(format);
  if (mode === 'existing') return probeFormat(host, filename);
  return source.driver instanceof Qcow2Driver ? 'qcow2' : 'raw';
}

async function create(
  { host }: TargetHost,
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

/** VmError: what the node holds is in no file. */
export function filenameOf(node: BlockNode): string {
  const { driver } = protocolOf(node);
  if (driver instanceof FileDriver) return driver.path;
  throw new VmError(
    `node '${node.name}' (${node.driver.format}) is in no file, so no image can name it as ` +
      'its backing file',
  );
}

/** How an image calls another file: by its bare name when they are neighbours. */
export function pathFrom(image: string, file: string): string {
  const name =
    posix.dirname(image) === posix.dirname(file)
      ? posix.basename(file)
      : posix.isAbsolute(file)
        ? file
        : posix.relative(posix.dirname(image), file);
  return /^[a-z][a-z0-9+-]*:/.test(name) ? `./${name}` : name;
}

/** The node of a chain whose image is that file, as somebody called it. */
export function nodeOfFile(chain: readonly BlockNode[], filename: string): BlockNode | undefined {
  const isIt = (node: BlockNode) => {
    const { driver } = protocolOf(node);
    return (
      driver instanceof FileDriver &&
      (driver.path === filename || posix.normalize(driver.path) === posix.normalize(filename))
    );
  };
  const named = chain.find(isIt);
  if (named) return named;
  // As the image above calls it.
  for (let n = 1; n < chain.length; n++) {
    const { driver } = chain[n - 1];
    if (
      driver instanceof Qcow2Driver &&
      driver.header.backingFile === filename &&
      filenameOf(chain[n]) === nextTo(chain[n - 1], filename)
    )
      return chain[n];
  }
  return undefined;
}
