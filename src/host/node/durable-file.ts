/** Small files that are there whole or not at all: written beside, put in place, folder synced. */
import { mkdir, open, readFile, rename, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import { errorCode, systemError } from './errors.js';

/** undefined: there is none. */
export async function readDurable(path: string): Promise<Uint8Array | undefined> {
  try {
    return await readFile(path);
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return undefined;
    throw systemError(`Could not read '${path}'`, error);
  }
}

export async function writeDurable(path: string, bytes: Uint8Array): Promise<void> {
  const fresh = `${path}.new`;
  try {
    const file = await open(fresh, 'w', 0o600);
    try {
      await file.writeFile(bytes);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(fresh, path);
    await syncFolder(dirname(path));
  } catch (error) {
    throw systemError(`Could not write '${path}'`, error);
  }
}

/** Not an error where there is none. */
export async function removeDurable(path: string): Promise<void> {
  try {
    await unlink(path);
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return;
    throw systemError(`Could not remove '${path}'`, error);
  }
  await syncFolder(dirname(path)).catch((error: unknown) => {
    throw systemError(`Could not remove '${path}'`, error);
  });
}

/** With all that is missing above it. */
export async function makeFolderDurable(path: string): Promise<void> {
  try {
    const first = await mkdir(path, { recursive: true, mode: 0o700 });
    if (first !== undefined) await syncFolder(dirname(first));
  } catch (error) {
    throw systemError(`Could not make the folder '${path}'`, error);
  }
}

export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path);
  await folder.sync().finally(() => folder.close());
}
