/**
 * The images of one side that do not exist yet: made where the definition gives a size, refused
 * otherwise.
 */
import { existsSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { asVmError, VmError } from '../../base/errors.js';
import { defaultCreateOptions } from '../../block/drivers/qcow2/create.js';
import { createImage, openImage } from '../../block/image/open.js';
import type { Host } from '../../host/ports.js';
import type { Role } from '../options/spec.js';
import type { PairFile } from './read.js';
import type { DiskDefinition } from './schema.js';

export async function makeImages(
  { path, pair }: PairFile,
  role: Role,
  host: Host,
  note: (line: string) => void,
): Promise<void> {
  const at = (file: string) => resolve(dirname(path), file);
  for (const [n, disk] of (pair.disks ?? []).entries()) {
    const image = at(disk[role]);
    const format = disk.format ?? 'raw';
    if (!existsSync(image)) {
      if (disk.size === undefined)
        throw new VmError(`${path}: disks[${n}]: '${image}' does not exist`, {
          hint: 'Make it (colo image create), or give the disk a `size`: then it is made.',
        });
      await createImage(host, image, format, { ...defaultCreateOptions, size: disk.size });
      note(`made ${image}: ${format}, ${disk.size} bytes`);
    }
    if (role === 'secondary') await makeOverlays(disk, image, format, { at, host, note });
  }
}

interface ImagesContext {
  readonly host: Host;
  at(file: string): string;
  note(line: string): void;
}

/** Empty ones, as long as the replica. */
async function makeOverlays(
  disk: DiskDefinition,
  image: string,
  format: 'raw' | 'qcow2',
  { at, host, note }: ImagesContext,
): Promise<void> {
  const missing = [disk.active, disk.hidden]
    .filter(file => file !== undefined)
    .map(at)
    .filter(file => !existsSync(file));
  if (missing.length === 0) return;
  const replica = await openImage(host, image, { format, readOnly: true }).catch(
    (error: unknown) => {
      throw asVmError(error).during('the length of the overlays');
    },
  );
  const { length } = replica.node;
  await replica.close();
  for (const file of missing) {
    await createImage(host, file, 'qcow2', { ...defaultCreateOptions, size: length });
    note(`made ${file}: qcow2, ${length} bytes`);
  }
}
