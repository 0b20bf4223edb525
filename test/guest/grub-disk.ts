/**
 * A disk as an installer leaves it: GRUB in its MBR and in the gap behind, a file system with the
 * kernel, and a second partition for what the guest writes. Made by Debian's own programs, without
 * root and without a loop device.
 */
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { GuestImage } from './build.js';
import { tool } from './tool.js';

const SECTOR = 512;
const MIB = 1 << 20;
/** Partitions begin here, and GRUB's core has its place before. */
const FIRST_MIB = 1;
const SYSTEM_MIB = 62;
const DATA_MIB = 64;
const LINUX = 0x83;
/** In boot.img: where the sector number of the core's first sector is (GRUB 2, boot.S). */
const CORE_SECTOR_AT = 0x5c;
const CODE_BYTES = 440;
const modules = ['biosdisk', 'part_msdos', 'ext2', 'normal', 'linux', 'configfile'];
const folder = '/usr/lib/grub/i386-pc';

/** Where the second partition begins, in bytes. */
export const dataStart = (FIRST_MIB + SYSTEM_MIB) * MIB;

export interface GrubDisk {
  guest: GuestImage;
  /** The kernel's command line. */
  append: string;
}

/** Writes the image; dir: for what is made on the way. */
export function makeGrubDisk(image: string, { guest, append }: GrubDisk, dir: string): void {
  const system = fileSystem(dir, guest, append);
  const core = coreImage(dir);
  if (core.length > FIRST_MIB * MIB - SECTOR) throw new Error('the core of GRUB is too large');
  const disk = Buffer.alloc((FIRST_MIB + SYSTEM_MIB + DATA_MIB) * MIB);
  bootRecord().copy(disk);
  core.copy(disk, SECTOR);
  system.copy(disk, FIRST_MIB * MIB);
  writeFileSync(image, disk);
}

/** The image that a disk of this kind begins with, and its partitions. */
function bootRecord(): Buffer {
  const record = Buffer.alloc(SECTOR);
  readFileSync(join(folder, 'boot.img')).copy(record, 0, 0, CODE_BYTES);
  record.writeBigUInt64LE(1n, CORE_SECTOR_AT);
  const parts = [
    { start: FIRST_MIB, size: SYSTEM_MIB, active: 0x80 },
    { start: FIRST_MIB + SYSTEM_MIB, size: DATA_MIB, active: 0 },
  ];
  parts.forEach(({ start, size, active }, n) => {
    const at = 0x1be + 16 * n;
    // Heads and cylinders say that the sector number is to be looked at.
    record.set([active, 0xfe, 0xff, 0xff, LINUX, 0xfe, 0xff, 0xff], at);
    record.writeUInt32LE((start * MIB) / SECTOR, at + 8);
    record.writeUInt32LE((size * MIB) / SECTOR, at + 12);
  });
  record.writeUInt16LE(0xaa55, 510);
  return record;
}

function coreImage(dir: string): Buffer {
  const early = join(dir, 'early.cfg');
  writeFileSync(early, 'set root=(hd0,msdos1)\nconfigfile /boot/grub/grub.cfg\n');
  const core = join(dir, 'core.img');
  const where = ['-O', 'i386-pc', '-p', '(hd0,msdos1)/boot/grub', '-c', early, '-o', core];
  tool('grub-mkimage', [...where, ...modules], 'grub-common grub-pc-bin');
  return readFileSync(core);
}

function fileSystem(dir: string, { kernel, initrd }: GuestImage, append: string): Buffer {
  const tree = join(dir, 'system');
  mkdirSync(join(tree, 'boot/grub'), { recursive: true });
  copyFileSync(kernel, join(tree, 'boot/vmlinuz'));
  copyFileSync(initrd, join(tree, 'boot/initrd.cpio'));
  writeFileSync(
    join(tree, 'boot/grub/grub.cfg'),
    `set timeout=1\nmenuentry 'Debian GNU/Linux' {\n  linux /boot/vmlinuz ${append}\n` +
      '  initrd /boot/initrd.cpio\n}\n',
  );
  const image = join(dir, 'system.ext4');
  tool('mkfs.ext4', ['-q', '-d', tree, image, `${SYSTEM_MIB}M`], 'e2fsprogs');
  return readFileSync(image);
}
