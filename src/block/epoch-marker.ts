/**
 * The mark that a secondary disk holds part of an epoch (rule 7): a file `IMAGE.colo-epoch` beside the image, durable before the first
 * forwarded write and gone when the image is whole again. Such an image must not boot: its undo data was in another process.
 */
import { VmError } from '../base/errors.js';
import type { Files } from '../host/ports.js';
import { isMissingFile } from './io-error.js';

export class EpochMarker {
  readonly path: string;

  constructor(
    private readonly files: Files,
    private readonly image: string,
  ) {
    this.path = `${image}.colo-epoch`;
  }

  async exists(): Promise<boolean> {
    try {
      await this.files.readFile(this.path);
      return true;
    } catch (error) {
      if (isMissingFile(error)) return false;
      throw error;
    }
  }

  async create(): Promise<void> {
    const file = await this.files.open(this.path, { readOnly: false, lock: 'none', create: true });
    try {
      await file.pwrite(Buffer.from(`${this.image} is the secondary disk of a running replication; without that process it holds part of an epoch.\n`), 0);
      await file.fdatasync();
    } finally {
      await file.close();
    }
  }

  async remove(): Promise<void> {
    try {
      await this.files.unlink(this.path);
    } catch (error) {
      if (!isMissingFile(error)) throw error;
    }
  }

  refusal(): VmError {
    return new VmError(
      `image '${this.image}' holds part of an epoch ('${this.path}' exists): its process ended before it was made whole. ` +
        'Use it as a secondary disk again, which compares it with the primary and copies what differs, or copy the image anew and remove that file',
    );
  }
}
