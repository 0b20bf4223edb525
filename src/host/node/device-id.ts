/**
 * What identifies a block device among all others, also after a reboot, when names and numbers may
 * have changed: the uuid of a mapped or RAID device, the identity or serial number of a disk; a
 * partition is a part of its disk, a loop device is the file behind it.
 */
import { readFile, realpath } from 'node:fs/promises';
import { dirname, join } from 'node:path';

export type DeviceId =
  /** A short text that may be the name of a file. */
  | { kind: 'device'; key: string }
  /** offset: where in the file the device begins. */
  | { kind: 'loop'; file: string; offset: number }
  | { kind: 'unknown' };

/** Below the folder of the device in /sys. */
const identities = [
  'dm/uuid',
  'md/uuid',
  'wwid',
  'device/wwid',
  'serial',
  'device/serial',
  'device/cid',
];

/** rdev: the device number, as stat gives it. sys: where sysfs is. */
export async function deviceId(rdev: number, sys = '/sys'): Promise<DeviceId> {
  const folder = await realpath(join(sys, 'dev/block', numberOf(rdev))).catch(() => undefined);
  return folder === undefined ? { kind: 'unknown' } : idOf(folder);
}

async function idOf(folder: string): Promise<DeviceId> {
  const file = await word(join(folder, 'loop/backing_file'));
  if (file !== undefined)
    return { kind: 'loop', file, offset: Number(await word(join(folder, 'loop/offset'))) };
  const partition = await word(join(folder, 'partition'));
  if (partition !== undefined) {
    const disk = await idOf(dirname(folder));
    return disk.kind === 'device'
      ? { kind: 'device', key: `${disk.key}-part${partition}` }
      : { kind: 'unknown' };
  }
  for (const name of identities) {
    const value = await word(join(folder, name));
    if (value !== undefined)
      return { kind: 'device', key: `${name.replace('/', '-')}-${plain(value)}` };
  }
  return { kind: 'unknown' };
}

async function word(path: string): Promise<string | undefined> {
  const text = (await readFile(path, 'utf8').catch(() => '')).trim();
  return text === '' ? undefined : text;
}

/** Two different identities stay different. */
const plain = (text: string) =>
  text.replace(/[^A-Za-z0-9.-]/g, char => `_${char.codePointAt(0)!.toString(16)}_`).slice(0, 200);

/**
 * As the kernel packs it: 12 bits of the major number above 8 of the minor, the rest above those.
 */
function numberOf(rdev: number): string {
  const bits = BigInt(rdev);
  const major = ((bits >> 8n) & 0xfffn) | ((bits >> 32n) & ~0xfffn);
  const minor = (bits & 0xffn) | ((bits >> 12n) & ~0xffn);
  return `${major}:${minor & 0xffffffffn}`;
}
