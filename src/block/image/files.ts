/** How an image tool uses files: past the locks of others (-U), and without waiting for the disk (cache=unsafe). */
import type { Files, OpenFile } from '../../host/ports.js';

/** Reads what another program may be writing to. */
export function withoutLocks(files: Files): Files {
  return Object.assign(Object.create(files) as Files, { open: (path: string, options: Parameters<Files['open']>[1]) => files.open(path, { ...options, lock: 'none' }) });
}

/** What is written is durable when the system gets round to it. */
export function withoutSync(files: Files): Files {
  const open = async (path: string, options: Parameters<Files['open']>[1]): Promise<OpenFile> => {
    const file = await files.open(path, options);
    return Object.assign(Object.create(file) as OpenFile, { fdatasync: () => Promise.resolve() });
  };
  return Object.assign(Object.create(files) as Files, { open });
}
