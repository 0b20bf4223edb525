/**
 * The label of an open image, on the medium itself where that can be: an extended attribute of the
 * inode, which stays through renaming, symbolic and hard links. Where the file system has none, a
 * hidden file in the image's folder, named by inode and time of birth: it stays through renaming in
 * that folder and through links, and is lost when the image moves to another folder. For a block
 * device a file in the state directory, named by what the device is called by its maker.
 */
import type { BigIntStats } from 'node:fs';
import { type FileHandle, open, readlink } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { VmError } from '../../base/errors.js';
import type { Label } from '../ports.js';
import type { HostModule } from './addon.js';
import { deviceId, type DeviceId } from './device-id.js';
import { makeFolderDurable, readDurable, removeDurable, writeDurable } from './durable-file.js';
import { errorCode, systemError } from './errors.js';

export const ATTRIBUTE = 'user.colo.pair';
export const SIDE_PREFIX = '.colo-pair.';

export interface LabelPorts {
  readonly host: Pick<HostModule, 'getXattr' | 'setXattr'>;
  /** For what is said of block devices. */
  readonly stateDir: string;
  deviceId(rdev: number): Promise<DeviceId>;
}

export function labelPorts(host: HostModule, env: NodeJS.ProcessEnv = process.env): LabelPorts {
  return {
    host,
    stateDir: stateDirOf(env, process.getuid?.() === 0),
    deviceId: rdev => deviceId(rdev),
  };
}

/** It must last longer than the machine runs. */
export function stateDirOf(env: NodeJS.ProcessEnv, root: boolean): string {
  if (env['COLO_STATE_DIR']) return env['COLO_STATE_DIR'];
  if (root) return '/var/lib/colo';
  return join(env['XDG_STATE_HOME'] || join(homedir(), '.local/state'), 'colo');
}

export class NodeLabel implements Label {
  constructor(
    private readonly ports: LabelPorts,
    private readonly handle: FileHandle,
    private readonly path: string,
  ) {}

  async read(): Promise<Uint8Array | undefined> {
    const found = await this.stat();
    if (found.isBlockDevice()) return this.readDevice(found);
    try {
      return await this.ports.host.getXattr(this.handle.fd, ATTRIBUTE);
    } catch (error) {
      if (unsupported(error)) return readDurable(await this.sideFile(found));
      throw systemError(`Could not read attribute ${ATTRIBUTE} of '${this.path}'`, error);
    }
  }

  async write(bytes: Uint8Array | undefined): Promise<void> {
    const found = await this.stat();
    if (found.isBlockDevice()) return this.writeDevice(found, bytes);
    try {
      await this.ports.host.setXattr(this.handle.fd, ATTRIBUTE, bytes);
      await this.handle.sync();
    } catch (error) {
      if (unsupported(error)) return put(await this.sideFile(found), bytes);
      throw systemError(`Could not write attribute ${ATTRIBUTE} of '${this.path}'`, error);
    }
  }

  /** Where the image lies now; for a block device, in the state directory. */
  async companion(kind: string): Promise<string> {
    const found = await this.stat();
    if (!found.isBlockDevice()) return this.besideFile(found, `.colo-${kind}.`);
    const id = await this.ports.deviceId(Number(found.rdev));
    if (id.kind === 'loop' && id.offset === 0)
      return this.behind(id.file, 'r', label => label.companion(kind));
    if (id.kind !== 'device') throw noPlace(this.path, id);
    const file = `${this.stateFile(id.key)}.${kind}`;
    await makeFolderDurable(dirname(file));
    return file;
  }

  private stat(): Promise<BigIntStats> {
    return this.handle.stat({ bigint: true }).catch((error: unknown) => {
      throw systemError(`Could not stat '${this.path}'`, error);
    });
  }

  /** Where the open file is now, whatever it was called when it was opened. */
  private sideFile(found: BigIntStats): Promise<string> {
    return this.besideFile(found, SIDE_PREFIX);
  }

  private async besideFile({ ino, birthtimeNs }: BigIntStats, prefix: string): Promise<string> {
    const real = await readlink(`/proc/self/fd/${this.handle.fd}`).catch((error: unknown) => {
      throw systemError(`Could not find the folder of '${this.path}'`, error);
    });
    return join(dirname(real), `${prefix}${ino}-${birthtimeNs.toString(16)}`);
  }

  private async readDevice({ rdev }: BigIntStats): Promise<Uint8Array | undefined> {
    const id = await this.ports.deviceId(Number(rdev));
    if (id.kind === 'device') return readDurable(this.stateFile(id.key));
    if (id.kind === 'loop' && id.offset === 0)
      return this.behind(id.file, 'r', label => label.read());
    return undefined;
  }

  private async writeDevice({ rdev }: BigIntStats, bytes: Uint8Array | undefined): Promise<void> {
    const id = await this.ports.deviceId(Number(rdev));
    if (id.kind === 'loop' && id.offset === 0)
      return this.behind(id.file, 'r+', label => label.write(bytes));
    if (id.kind !== 'device') throw noPlace(this.path, id);
    const file = this.stateFile(id.key);
    await makeFolderDurable(dirname(file));
    await put(file, bytes);
  }

  private stateFile(key: string): string {
    return join(this.ports.stateDir, 'devices', key);
  }

  /** Of the file behind a loop device. */
  private async behind<T>(
    file: string,
    flags: string,
    use: (label: NodeLabel) => Promise<T>,
  ): Promise<T> {
    const handle = await open(file, flags).catch((error: unknown) => {
      throw systemError(`Could not open '${file}', which is behind '${this.path}'`, error);
    });
    try {
      return await use(new NodeLabel(this.ports, handle, file));
    } finally {
      await handle.close();
    }
  }
}

const unsupported = (error: unknown) =>
  errorCode(error) === 'EOPNOTSUPP' || errorCode(error) === 'ENOTSUP';

const put = (path: string, bytes: Uint8Array | undefined) =>
  bytes === undefined ? removeDurable(path) : writeDurable(path, bytes);

function noPlace(path: string, id: DeviceId): VmError {
  const message = `block device '${path}' ${nameless(id)}: a record of its pair would not last`;
  return new VmError(message, {
    hint: 'Use an image file, a logical volume, or a disk with a serial number.',
  });
}

function nameless(id: DeviceId): string {
  if (id.kind === 'loop') return `is a part of '${id.file}'`;
  return 'has no uuid, wwid or serial number that would tell it from another one after a reboot';
}
