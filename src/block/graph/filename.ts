/** The files of images, and how one image names another. */
import { posix } from 'node:path';
import { VmError } from '../../base/errors.js';
import { type BlockNode, protocolOf } from '../contract/node.js';
import { inRole } from '../contract/roles.js';
import { nextTo } from './backing.js';

/** VmError: what the node holds is in no file. */
export function filenameOf(node: BlockNode): string {
  const image = inRole('file', protocolOf(node));
  if (image) return image.path;
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

/** The node of a chain whose image is that file, by whatever name the user gave. */
export function nodeOfFile(chain: readonly BlockNode[], filename: string): BlockNode | undefined {
  const isIt = (node: BlockNode) => {
    const path = inRole('file', protocolOf(node))?.path;
    return path !== undefined && posix.normalize(path) === posix.normalize(filename);
  };
  const named = chain.find(isIt);
  if (named) return named;
  // As the image above calls it.
  for (let n = 1; n < chain.length; n++) {
    const above = inRole('image', chain[n - 1]);
    if (
      above?.header.backingFile === filename &&
      filenameOf(chain[n]) === nextTo(chain[n - 1], filename)
    )
      return chain[n];
  }
  return undefined;
}
