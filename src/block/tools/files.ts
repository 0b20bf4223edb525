/** How an image tool uses files: past the locks of others (-U), and as a cache mode says. */
import type { Files, OpenFile } from '../../host/ports.js';

/** Reads what another program may be writing to. */
export function withoutLocks(files: Files): Files {
  return Object.assign(Object.create(files) as Files, {
    open: (path: string, options: Parameters<Files['open']>[1]) =>
      files.open(path, { ...options, lock: 'none' }),
  });
}

export const cacheModes = ['writeback', 'writethrough', 'none', 'directsync', 'unsafe'] as const;
export type ImageCache = (typeof cacheModes)[number];

/**
 * none and directsync go past the page cache; writethrough and directsync make each write durable;
 * unsafe makes none.
 */
export function cachedAs(files: Files, cache: ImageCache): Files {
  const direct = cache === 'none' || cache === 'directsync';
  const open = async (path: string, options: Parameters<Files['open']>[1]): Promise<OpenFile> => {
    const file = await files.open(path, { ...options, direct });
    if (cache === 'unsafe')
      return Object.assign(Object.create(file) as OpenFile, { fdatasync: () => Promise.resolve() });
    return cache === 'writethrough' || cache === 'directsync' ? writingThrough(file) : file;
  };
  return Object.assign(Object.create(files) as Files, { open });
}

function writingThrough(file: OpenFile): OpenFile {
  const pwrite = async (buffer: Uint8Array, offset: number) => {
    await file.pwrite(buffer, offset);
    await file.fdatasync();
  };
  return Object.assign(Object.create(file) as OpenFile, { pwrite, copyFrom: undefined });
}
