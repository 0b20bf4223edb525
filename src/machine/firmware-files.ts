/** Where files of firmware are: those of -bios and romfile=, and those that nobody named. */
import { asVmError, VmError } from '../base/errors.js';
import type { Files } from '../host/ports.js';

/** Where distributions put them, behind the folders of -L. */
const FOLDERS = [
  '/usr/share/seabios',
  '/usr/share/qemu',
  '/usr/share/vgabios',
  '/usr/local/share/qemu',
] as const;

export interface FirmwareFile {
  readonly path: string;
  readonly bytes: Uint8Array;
}

export class FirmwareFiles {
  private readonly folders: readonly string[];

  /** dataDirs: the folders of -L. */
  constructor(
    private readonly files: Pick<Files, 'readFile'>,
    dataDirs: readonly string[] = [],
  ) {
    this.folders = [...dataDirs, ...FOLDERS];
  }

  /** The first that can be read and fits: folder by folder, in each of them name by name. */
  async anyOf(
    names: readonly string[],
    fits: (bytes: Uint8Array) => boolean = () => true,
  ): Promise<FirmwareFile | undefined> {
    for (const folder of this.folders)
      for (const name of names) {
        const found = await this.read(`${folder}/${name}`);
        if (!(found instanceof VmError) && fits(found.bytes)) return found;
      }
    return undefined;
  }

  /**
   * As QEMU looks for it: the file of that name, else that name in the folders. VmError: why it
   * is not the first of them, with `option` in front.
   */
  async named(name: string, option: string): Promise<FirmwareFile> {
    const first = await this.read(name);
    if (!(first instanceof VmError)) return first;
    const found = name.includes('/') ? undefined : await this.anyOf([name]);
    if (found) return found;
    throw first.during(option);
  }

  private async read(path: string): Promise<FirmwareFile | VmError> {
    try {
      return { path, bytes: await this.files.readFile(path) };
    } catch (error) {
      return asVmError(error);
    }
  }
}
