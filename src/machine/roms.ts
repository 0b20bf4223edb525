/** The ROMs of devices: files that the host's firmware packages bring, or that the user names. */
import { VmError } from '../base/errors.js';
import type { Files } from '../host/ports.js';
import { VGA_MODEL } from '../hw/display/vga-device.js';
import { type FirmwareFile, FirmwareFiles } from './firmware-files.js';
import { allDevices } from './implied-devices.js';
import type { MachineSpec } from './spec.js';

const VGA_BIOS = 'vgabios-stdvga.bin';
const MAX_BYTES = 1 << 20;
const SIGNATURE = 0xaa55;

/** By id of the device. A card whose BIOS is nowhere has none. VmError: a file that was named. */
export async function loadRoms(
  spec: MachineSpec,
  files: Pick<Files, 'readFile'>,
): Promise<ReadonlyMap<string, Buffer>> {
  const all = new FirmwareFiles(files, spec.dataDirs);
  const roms = new Map<string, Buffer>();
  for (const { model, id, properties } of allDevices(spec)) {
    if (model !== VGA_MODEL) continue;
    const { romfile } = properties as { romfile?: string };
    const rom =
      romfile === undefined ? await all.anyOf([VGA_BIOS], isRom) : await named(romfile, all);
    if (rom) roms.set(id, Buffer.from(rom.bytes));
  }
  return roms;
}

async function named(name: string, files: FirmwareFiles): Promise<FirmwareFile | undefined> {
  if (name === '') return undefined;
  const option = `-device ${VGA_MODEL},romfile=${name}`;
  const found = await files.named(name, option);
  if (!isRom(found.bytes))
    throw new VmError(`${option}: not the ROM of a card: it begins with 55 aa, at most 1 MiB long`);
  return found;
}

const isRom = (bytes: Uint8Array): boolean =>
  bytes.length >= 3 && bytes.length <= MAX_BYTES && (bytes[0] | (bytes[1] << 8)) === SIGNATURE;
