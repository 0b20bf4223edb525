/**
 * The backing image that a qcow2 header names. The name is untrusted: only plain files are opened,
 * for reading, and a chain has an end. `json:{...}` that describes no more than such a file is as
 * good as its name.
 */
import { VmError } from '../../base/errors.js';
import { inRole } from '../contract/roles.js';
import type { Qcow2Header } from '../drivers/qcow2/header.js';
import { type BlockNode, protocolOf } from '../contract/node.js';
import type { NodeSpec } from '../options/options.js';

const MAX_DEPTH = 64;

export function backingOf(
  header: Qcow2Header,
  file: BlockNode,
  depth: number,
): NodeSpec | undefined {
  if (header.backingFile === undefined) return undefined;
  const { name, format } = plain(header.backingFile, header.backingFormat);
  if (depth >= MAX_DEPTH)
    throw new VmError(
      `the backing chain is longer than ${MAX_DEPTH} images; does one of them back itself?`,
    );
  if (name.includes('\0')) throw new VmError('the name of the backing file holds a zero byte');
  if (format !== undefined && format !== 'raw' && format !== 'qcow2')
    throw new VmError(`backing file '${name}': format '${format.slice(0, 40)}' is not implemented`);
  if (format === undefined)
    throw new VmError(
      `the image does not say which format its backing file '${name}' has; give backing.driver=...`,
    );
  const filename = nextTo(file, name);
  const image: NodeSpec = {
    driver: 'file',
    readOnly: true,
    filename,
    lock: 'auto',
    direct: isDirect(file),
  };
  if (format === 'raw') return { driver: 'raw', readOnly: true, file: image, probed: false };
  return { driver: 'qcow2', readOnly: true, file: image, depth: depth + 1 };
}

interface Plain {
  name: string;
  format: string | undefined;
}

function plain(name: string, format: string | undefined): Plain {
  if (name.startsWith('json:')) return fromJson(name.slice('json:'.length), format);
  if (name.startsWith('file:')) return { name: name.slice('file:'.length), format };
  if (!/^[a-z][a-z0-9+-]*:/.test(name)) return { name, format };
  throw new VmError(
    `backing file '${name.slice(0, 100)}': only plain files are opened by the name in an ` +
      'image; give backing.driver=... instead',
  );
}

/**
 * {"driver": FORMAT, "file": {"driver": "file", "filename": NAME}}, also with file.driver and
 * file.filename, or the file alone.
 */
function fromJson(text: string, format: string | undefined): Plain {
  const refused = (why: string) =>
    new VmError(
      `backing file 'json:${text.slice(0, 100)}': ${why}; of json only a plain file, raw or ` +
        'qcow2, is opened, without other options; give backing.driver=... instead',
    );
  let options: unknown;
  try {
    options = JSON.parse(text);
  } catch {
    throw refused('this is no JSON');
  }
  const flat = new Map<string, unknown>();
  const flatten = (value: unknown, path: string, depth: number): void => {
    if (typeof value !== 'object' || value === null || depth > 2) return void flat.set(path, value);
    for (const [key, below] of Object.entries(value))
      flatten(below, path === '' ? key : `${path}.${key}`, depth + 1);
  };
  flatten(options, '', 0);
  const take = (key: string): string | undefined => {
    const value = flat.get(key);
    flat.delete(key);
    if (value !== undefined && typeof value !== 'string') throw refused(`'${key}' is no string`);
    return value;
  };
  const driver = take('driver') ?? format;
  const alone = driver === 'file';
  const [protocol, name] = alone
    ? ['file', take('filename')]
    : [take('file.driver') ?? 'file', take('file.filename')];
  for (const key of flat.keys())
    throw refused(key === '' ? 'this is no object' : `'${key.slice(0, 40)}' is more than that`);
  if (protocol !== 'file') throw refused(`the driver '${protocol.slice(0, 40)}' is more than that`);
  if (name === undefined) throw refused('it names no file');
  if (!alone && format !== undefined && driver !== format)
    throw refused(`the image says that its format is '${format.slice(0, 40)}'`);
  return { name, format: alone ? format : driver };
}

/** Are the files below read and written past the page cache? */
export function isDirect(node: BlockNode): boolean {
  return inRole('file', protocolOf(node))?.direct ?? false;
}

/** A relative name starts where the image is. */
export function nextTo(file: BlockNode, name: string): string {
  if (name.startsWith('/')) return name;
  const image = inRole('file', protocolOf(file));
  if (!image)
    throw new VmError(
      `backing file '${name}': its place is not known, for the image is not in a file`,
    );
  const slash = image.path.lastIndexOf('/');
  return slash < 0 ? name : `${image.path.slice(0, slash + 1)}${name}`;
}
