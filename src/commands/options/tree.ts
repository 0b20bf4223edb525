/** `driver=quorum,children.0.file.filename=F` nested along its dots. */
import { VmError } from '../../base/errors.js';
import { parseKeyValues } from '../../words/key-values.js';

export type OptionTree = { [key: string]: string | OptionTree };

/** A bare word means `on`, as in QEMU. */
export function parseTree(text: string): OptionTree {
  const root = emptyTree();
  for (const { key, value } of parseKeyValues(text)) put(root, key, value ?? 'on');
  return root;
}

function put(root: OptionTree, key: string, value: string): void {
  const path = key.split('.');
  if (path.includes('')) throw new VmError(`'${key}' is not a name`);
  const leaf = path.pop() ?? '';
  let node = root;
  for (const step of path) {
    if (step === 'file' && typeof node.file === 'string') node.file = named(node.file);
    const next = (node[step] ??= emptyTree());
    if (typeof next === 'string')
      throw new VmError(`'${key}' and '${step}=${next}' contradict each other`);
    node = next;
  }
  const group = node[leaf];
  if (leaf === 'file' && typeof group === 'object' && !('filename' in group))
    group.filename = value;
  else if (leaf in node)
    throw new VmError(`'${key}' is given twice, or both as a value and as a group`);
  else node[leaf] = value;
}

/** `file=F` beside `file.OPTION=...` is short for `file.filename=F`. */
function named(filename: string): OptionTree {
  return Object.assign(emptyTree(), { filename });
}

/** No prototype: `__proto__` is a key like any other. */
function emptyTree(): OptionTree {
  return Object.create(null) as OptionTree;
}

/** Takes a word out of the top level. */
export function takeWord(tree: OptionTree, key: string): string | undefined {
  const value = tree[key];
  if (value === undefined) return undefined;
  if (typeof value !== 'string') throw new VmError(`'${key}' is a word here, not a group`);
  delete tree[key];
  return value;
}
