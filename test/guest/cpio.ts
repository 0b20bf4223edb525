/**
 * A newc cpio archive ("070701", Documentation/driver-api/early-userspace/buffer-format.rst), as
 * the kernel unpacks an initramfs.
 */

export interface CpioEntry {
  /** Without a leading slash. */
  path: string;
  /**
   * With the file type bits: 0o100755 a program, 0o040755 a directory, 0o020600 a character device.
   */
  mode: number;
  data?: Uint8Array;
  device?: { major: number; minor: number };
}

const hex = (value: number) => value.toString(16).toUpperCase().padStart(8, '0');
const padding = (length: number) => Buffer.alloc((4 - (length % 4)) % 4);

export function cpio(entries: readonly CpioEntry[]): Buffer {
  const parts: Buffer[] = [];
  const all: CpioEntry[] = [...entries, { path: 'TRAILER!!!', mode: 0 }];
  all.forEach(({ path, mode, data = new Uint8Array(), device = { major: 0, minor: 0 } }, index) => {
    const name = Buffer.from(`${path}\0`);
    const fields = [
      index + 1,
      mode,
      0,
      0,
      1,
      0,
      data.length,
      0,
      0,
      device.major,
      device.minor,
      name.length,
      0,
    ];
    const header = Buffer.concat([Buffer.from('070701' + fields.map(hex).join('')), name]);
    parts.push(header, padding(header.length), Buffer.from(data), padding(data.length));
  });
  return Buffer.concat(parts);
}
