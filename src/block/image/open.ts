/**
 * Images outside of a VM: opened by name, format probed where none is said, for `colo image` and
 * `colo nbd serve`.
 */
import { VmError } from '../../base/errors.js';
import { type CreateOptions, createQcow2 } from '../drivers/qcow2/create.js';
import { Qcow2Driver } from '../drivers/qcow2/driver.js';
import { isQcow2 } from '../drivers/qcow2/header.js';
import { FileDriver } from '../drivers/file.js';
import { BlockGraph, type BlockHost } from '../graph/graph.js';
import { BlockNode } from '../contract/node.js';
import type { NodeSpec } from '../options/options.js';
import { type Preallocation, preallocate } from './preallocate.js';

export type Format = 'raw' | 'qcow2';

export interface OpenedImage {
  readonly node: BlockNode;
  readonly format: Format;
  /** Of the file below the format. */
  readonly file: BlockNode;
  readonly graph: BlockGraph;
  readonly qcow2?: Qcow2Driver;
  close(): Promise<void>;
}

export function checkedFormat(text: string): Format {
  if (text === 'raw' || text === 'qcow2') return text;
  throw new VmError(`Unknown file format '${text}'`, { hint: 'raw and qcow2 are implemented.' });
}

export interface OpenOptions {
  format?: string;
  readOnly: boolean;
  /** false: backing files stay closed, what they hold reads as zeroes. */
  backing?: boolean;
}

export async function openImage(
  host: BlockHost,
  filename: string,
  options: OpenOptions,
): Promise<OpenedImage> {
  const format =
    options.format === undefined
      ? await probeFormat(host, filename)
      : checkedFormat(options.format);
  const { readOnly } = options;
  const file: NodeSpec = { driver: 'file', filename, readOnly, lock: 'auto' };
  const graph = new BlockGraph(host);
  const spec: NodeSpec =
    format === 'raw'
      ? { driver: 'raw', readOnly, file, probed: false }
      : {
          driver: 'qcow2',
          readOnly,
          file,
          backing: options.backing === false ? 'none' : undefined,
        };
  const node = await graph.build(spec);
  return {
    node,
    format,
    file: node.children.get('file')!,
    graph,
    qcow2: node.driver instanceof Qcow2Driver ? node.driver : undefined,
    close: () => graph.close(node),
  };
}

/** The protocol alone, for a check of an image that may not open. */
export async function withFile<T>(
  host: BlockHost,
  filename: string,
  readOnly: boolean,
  use: (file: BlockNode) => Promise<T>,
): Promise<T> {
  const file = new BlockNode(
    'file',
    await FileDriver.open(host, { filename, readOnly, lock: 'auto' }),
  );
  try {
    return await use(file);
  } finally {
    await file.close();
  }
}

export async function probeFormat(host: BlockHost, filename: string): Promise<Format> {
  return withFile(host, filename, true, async file =>
    isQcow2(await file.pread(0, Math.min(512, file.length))) ? 'qcow2' : 'raw',
  );
}

/** Makes the file, or makes it anew. */
export async function createImage(
  host: BlockHost,
  filename: string,
  format: Format,
  options: CreateOptions & { preallocation?: Preallocation },
): Promise<void> {
  const { preallocation = 'off', ...rest } = options;
  if (preallocation !== 'off' && rest.backingFile !== undefined)
    throw new VmError(
      'A backing file and preallocation exclude each other: preallocated clusters hide what ' +
        'is below them',
    );
  const handle = await host.files.open(filename, { readOnly: false, lock: 'auto', create: true });
  try {
    await handle.truncate(0);
    if (format === 'raw') await handle.truncate(rest.size);
  } finally {
    await handle.close();
  }
  if (format === 'qcow2') await withFile(host, filename, false, file => createQcow2(file, rest));
  if (preallocation === 'off') return;
  const image = await openImage(host, filename, { format, readOnly: false });
  await preallocate(image, preallocation).finally(() => image.close());
}
