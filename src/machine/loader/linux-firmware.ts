/**
 * Linux through firmware (kernel documentation, "The Linux/x86 Boot Protocol"): what a boot loader
 * writes into the header of a bzImage, as items of fw_cfg with QEMU's keys, and the option ROM that
 * has them copied. The kernel begins in real mode, and asks firmware what there is.
 */
import { VmError } from '../../base/errors.js';
import { FwCfgKey, le32 } from '../../hw/firmware/fw-cfg.js';
import { bootRom, type RomCopy } from './boot-rom.js';
import {
  commandLine,
  fromBzImage,
  H,
  type KernelImage,
  placeInitrd,
  setupLength,
} from './linux.js';
import { Low, MIB, ramLayout } from './memory-map.js';

export interface FirmwareKernel {
  /** By key of fw_cfg. */
  readonly items: ReadonlyMap<number, Buffer>;
  readonly rom: Buffer;
}

/** What firmware calls it in its order of boot devices. */
export const KERNEL_ROM = 'genroms/linuxboot.bin';

const SETUP = 0x10000;
const SECTOR = 512;
const SETUP_MAX = 65 * SECTOR;
/** Of the setup code's segment: where its heap ends and its stack begins. */
const HEAP_END = 0xfe00;
const CAN_USE_HEAP = 0x80;
/** A boot loader without a number of its own. */
const UNDEFINED_LOADER = 0xff;
/** Firmware keeps its tables at the top of memory below 4 GiB. */
const FIRMWARE_BYTES = 2 * MIB;

export function planFirmwareKernel(image: Omit<KernelImage, 'rsdp'>): FirmwareKernel {
  const { kernel, initrd, append, ramBytes } = image;
  const option = `-kernel ${kernel.path}`;
  const low = ramLayout(ramBytes).low - FIRMWARE_BYTES;
  const k = fromBzImage(kernel.bytes, `${option} with -bios`, low);
  const cmdline = commandLine(append, k.cmdlineMax);
  const file = Buffer.from(kernel.bytes);
  const setupBytes = setupLength(file);
  if (setupBytes > SETUP_MAX)
    throw new VmError(`${option}: ${setupBytes} bytes of setup code, at most ${SETUP_MAX}`);
  const [setup, payload] = [file.subarray(0, setupBytes), file.subarray(setupBytes)];
  setup[H.type_of_loader] = UNDEFINED_LOADER;
  setup[H.loadflags] |= CAN_USE_HEAP;
  setup.writeUInt16LE(HEAP_END, H.heap_end_ptr);
  setup.writeUInt32LE(Low.COMMAND_LINE, H.cmd_line_ptr);
  const parts: Part[] = [
    { ...places.setup, gpa: SETUP, bytes: setup },
    { ...places.cmdline, gpa: Low.COMMAND_LINE, bytes: cmdline },
    { ...places.kernel, gpa: Low.TOP, bytes: payload },
  ];
  if (initrd) {
    const gpa = placeInitrd(initrd, k, low);
    setup.writeUInt32LE(gpa, H.ramdisk_image);
    setup.writeUInt32LE(initrd.bytes.length, H.ramdisk_size);
    parts.push({ ...places.initrd, gpa, bytes: Buffer.from(initrd.bytes) });
  }
  const copies = parts.map(({ data: key, gpa, bytes: { length } }): RomCopy => ({
    key,
    gpa,
    length,
  }));
  return {
    items: new Map(
      parts.flatMap(({ data, address, size, gpa, bytes }) => [
        [data, bytes],
        [address, le32(gpa)],
        [size, le32(bytes.length)],
      ]),
    ),
    rom: bootRom('Linux', copies, SETUP + SECTOR),
  };
}

interface Part extends RomPlace {
  readonly gpa: number;
  readonly bytes: Buffer;
}

/** Keys of fw_cfg. */
interface RomPlace {
  readonly data: number;
  readonly address: number;
  readonly size: number;
}

/** The keys of each part's bytes, address and length. */
const places = {
  kernel: {
    data: FwCfgKey.KERNEL_DATA,
    address: FwCfgKey.KERNEL_ADDR,
    size: FwCfgKey.KERNEL_SIZE,
  },
  initrd: {
    data: FwCfgKey.INITRD_DATA,
    address: FwCfgKey.INITRD_ADDR,
    size: FwCfgKey.INITRD_SIZE,
  },
  cmdline: {
    data: FwCfgKey.CMDLINE_DATA,
    address: FwCfgKey.CMDLINE_ADDR,
    size: FwCfgKey.CMDLINE_SIZE,
  },
  setup: { data: FwCfgKey.SETUP_DATA, address: FwCfgKey.SETUP_ADDR, size: FwCfgKey.SETUP_SIZE },
} satisfies Record<string, RomPlace>;
