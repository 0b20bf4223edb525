/** The backing image that a qcow2 header names. The name is untrusted: only plain files are opened, for reading, and a chain has an end. */
import { VmError } from '../base/errors.js';
import { FileDriver } from './drivers/file.js';
import type { Qcow2Header } from './drivers/qcow2/header.js';
import { type BlockNode, protocolOf } from './node.js';
import type { NodeSpec } from './options.js';

const MAX_DEPTH = 64;

export function backingOf(header: Qcow2Header, file: BlockNode, depth: number): NodeSpec | undefined {
  const { backingFile: name, backingFormat: format } = header;
  if (name === undefined) return undefined;
  if (depth >= MAX_DEPTH) throw new VmError(`the backing chain is longer than ${MAX_DEPTH} images; does one of them back itself?`);
  if (/^[a-z][a-z0-9+-]*:/.test(name) && !name.startsWith('file:')) throw new VmError(`backing file '${name.slice(0, 100)}': only plain files are opened by the name in an image; give backing.driver=... instead`);
  if (name.includes('\0')) throw new VmError('the name of the backing file holds a zero byte');
  if (format !== undefined && format !== 'raw' && format !== 'qcow2') throw new VmError(`backing file '${name}': format '${format.slice(0, 40)}' is not implemented`);
  if (format === undefined) throw new VmError(`the image does not say which format its backing file '${name}' has; give backing.driver=...`);
  const filename = nextTo(file, name.startsWith('file:') ? name.slice('file:'.length) : name);
  const image: NodeSpec = { driver: 'file', readOnly: true, filename, lock: 'auto', direct: isDirect(file) };
  if (format === 'raw') return { driver: 'raw', readOnly: true, file: image, probed: false };
  return { driver: 'qcow2', readOnly: true, file: image, depth: depth + 1 };
}

/** Are the files below read and written past the page cache? */
export function isDirect(node: BlockNode): boolean {
  const { driver } = protocolOf(node);
  return driver instanceof FileDriver && driver.direct;
}

/** A relative name starts where the image is. */
export function nextTo(file: BlockNode, name: string): string {
  if (name.startsWith('/')) return name;
  const { driver } = protocolOf(file);
  if (!(driver instanceof FileDriver)) throw new VmError(`backing file '${name}': its place is not known, for the image is not in a file`);
  const slash = driver.path.lastIndexOf('/');
  return slash < 0 ? name : `${driver.path.slice(0, slash + 1)}${name}`;
}
