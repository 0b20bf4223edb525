/**
 * Firmware: SeaBIOS as the host's distribution has it, or the file of -bios. It is the ROM below 4
 * GiB; what it asks fw_cfg for is in firmware-config.ts.
 */
import { VmError } from '../base/errors.js';
import type { Files } from '../host/ports.js';
import type { Ram } from '../accel/contract.js';
import { bootsFirmware } from './check-spec.js';
import { type FirmwareFile, FirmwareFiles } from './firmware-files.js';
import type { MachineSpec } from './spec.js';

const NAMES = ['bios-256k.bin', 'bios.bin'] as const;
const UNIT = 64 << 10;
const MAX_SIZE = 16 << 20;
/**
 * The ROM of a machine whose firmware is smaller, or that has none: both sides of a pair have the
 * same memory, also where one of them has no firmware of its own to start with.
 */
const ROM_BYTES = 256 << 10;
/** What the processor executes first: the last bytes below 4 GiB. */
const RESET_CODE = 16;

export const noFirmware = (): VmError =>
  new VmError('there is no firmware to boot a disk with: SeaBIOS was not found', {
    hint:
      'Install the package seabios, or name a file with -bios; -kernel boots a Linux kernel ' +
      'without firmware.',
  });

/** Undefined: this machine has none. VmError: it is to have one, and cannot. */
export async function loadFirmware(
  spec: MachineSpec,
  files: Pick<Files, 'readFile'>,
): Promise<FirmwareFile | undefined> {
  const { bios } = spec;
  const all = new FirmwareFiles(files, spec.dataDirs);
  if (bios !== undefined) return checked('-bios', await all.named(bios, `-bios ${bios}`));
  // With -incoming it comes with the state, as all memory does.
  if (spec.incoming !== undefined || !bootsFirmware(spec)) return undefined;
  const found = await all.anyOf(NAMES);
  if (found) return checked('firmware', found);
  if (spec.startPaused) return undefined;
  throw noFirmware();
}

/** The size of the machine's ROM. */
export function romBytes(firmware: FirmwareFile | undefined): number {
  return Math.max(firmware?.bytes.length ?? 0, ROM_BYTES);
}

/** Put where the processor begins, once: no guest can change it. */
export function placeFirmware(ram: Ram, { bytes }: FirmwareFile): void {
  ram.writeExtra(ram.extraBytes - bytes.length, bytes);
}

/** Also where it came from a peer. */
export function hasFirmware(ram: Ram): boolean {
  const { extraBytes } = ram;
  if (extraBytes < RESET_CODE) return false;
  return ram.readExtra(extraBytes - RESET_CODE, RESET_CODE).some(byte => byte !== 0);
}

function checked(what: string, firmware: FirmwareFile): FirmwareFile {
  const { length } = firmware.bytes;
  if (length === 0 || length % UNIT !== 0 || length > MAX_SIZE)
    throw new VmError(
      `${what} ${firmware.path}: ${length} bytes are no firmware: it is a multiple of 64 KiB, at ` +
        'most 16 MiB',
    );
  return firmware;
}
