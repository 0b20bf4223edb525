/**
 * A file that is written under a name of its own, and takes the place of an older one when it is
 * whole.
 */
import { open, realpath, rename, stat, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Files, Replacement } from '../ports.js';
import { systemError } from './errors.js';

/** Its lock keeps two writers of one file apart; one that the dead left behind is taken over. */
const SUFFIX = '.part';

export async function replacement(
  files: Pick<Files, 'open'>,
  path: string,
  mode: number,
): Promise<Replacement> {
  // A link stays one: what it points to is replaced.
  const target = await realpath(path).catch(() => path);
  const old = await stat(target).catch(() => undefined);
  if (old && !old.isFile()) return asItIs(files, path);
  const fresh = target + SUFFIX;
  // In a folder that every user can write to, a link of that name could lead to a file of ours.
  const file = await files.open(fresh, {
    readOnly: false,
    lock: 'auto',
    create: true,
    mode,
    noFollow: true,
  });
  const discard = () => unlink(fresh).catch(() => undefined);
  try {
    await file.truncate(0);
  } catch (error) {
    await discard();
    await file.close();
    throw error;
  }
  return { file, discard, keep: () => take(fresh, target) };
}

/** A device or a pipe has no older content that could be kept. */
async function asItIs(files: Pick<Files, 'open'>, path: string): Promise<Replacement> {
  const nothing = () => Promise.resolve();
  return {
    file: await files.open(path, { readOnly: false, lock: 'none' }),
    keep: nothing,
    discard: nothing,
  };
}

async function take(fresh: string, target: string): Promise<void> {
  try {
    await rename(fresh, target);
    const folder = await open(dirname(target));
    await folder.sync().finally(() => folder.close());
  } catch (error) {
    throw systemError(`Could not put '${target}' in its place`, error);
  }
}
