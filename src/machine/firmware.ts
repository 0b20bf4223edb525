/**
 * Firmware: SeaBIOS as the host's distribution has it, or the file of -bios. It is the ROM below 4
 * GiB; what it asks fw_cfg for is in firmware-config.ts.
 */
import { asVmError, VmError } from '../base/errors.js';
import type { Files } from '../host/ports.js';
import type { Ram } from '../accel/contract.js';
import { bootsFirmware } from './check-spec.js';
import type { MachineSpec } from './spec.js';

export interface Firmware {
  readonly path: string;
  readonly bytes: Uint8Array;
}

/** Where distributions put it, behind the folders of -L. */
const FOLDERS = ['/usr/share/seabios', '/usr/share/qemu', '/usr/local/share/qemu'] as const;
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

type Reader = Pick<Files, 'readFile'>;

/** Undefined: this machine has none. VmError: it is to have one, and cannot. */
export async function loadFirmware(
  spec: MachineSpec,
  files: Reader,
): Promise<Firmware | undefined> {
  const { dataDirs = [] } = spec;
  if (spec.bios !== undefined) return named(spec.bios, dataDirs, files);
  // With -incoming it comes with the state, as all memory does.
  if (spec.incoming !== undefined || !bootsFirmware(spec)) return undefined;
  for (const folder of [...dataDirs, ...FOLDERS])
    for (const name of NAMES) {
      const found = await read(`${folder}/${name}`, files);
      if (found) return checked('firmware', found);
    }
  if (spec.startPaused) return undefined;
  throw noFirmware();
}

/** The size of the machine's ROM. */
export function romBytes(firmware: Firmware | undefined): number {
  return Math.max(firmware?.bytes.length ?? 0, ROM_BYTES);
}

/** Put where the processor begins, once: no guest can change it. */
export function placeFirmware(ram: Ram, { bytes }: Firmware): void {
  ram.writeExtra(ram.extraBytes - bytes.length, bytes);
}

/** Also where it came from a peer. */
export function hasFirmware(ram: Ram): boolean {
  const { extraBytes } = ram;
  if (extraBytes < RESET_CODE) return false;
  return ram.readExtra(extraBytes - RESET_CODE, RESET_CODE).some(byte => byte !== 0);
}

/** As QEMU looks for it: the file of that name, else that name in the folders. */
async function named(name: string, dirs: readonly string[], files: Reader): Promise<Firmware> {
  let first: VmError | undefined;
  const places = name.includes('/') ? [] : [...dirs, ...FOLDERS];
  for (const path of [name, ...places.map(folder => `${folder}/${name}`)]) {
    try {
      return checked('-bios', { path, bytes: await files.readFile(path) });
    } catch (error) {
      first ??= asVmError(error).during(`-bios ${path}`);
      if (error instanceof WrongSize) throw error;
    }
  }
  throw first ?? noFirmware();
}

async function read(path: string, files: Reader): Promise<Firmware | undefined> {
  try {
    return { path, bytes: await files.readFile(path) };
  } catch {
    return undefined;
  }
}

class WrongSize extends VmError {}

function checked(what: string, firmware: Firmware): Firmware {
  const { length } = firmware.bytes;
  if (length === 0 || length % UNIT !== 0 || length > MAX_SIZE)
    throw new WrongSize(
      `${what} ${firmware.path}: ${length} bytes are no firmware: it is a multiple of 64 KiB, at ` +
        'most 16 MiB',
    );
  return firmware;
}
