/** The ROMs of devices: files that the host's firmware packages bring, or that the user names. */
import { asVmError, VmError } from '../base/errors.js';
import type { Files } from '../host/ports.js';
import { VGA_MODEL } from '../hw/display/vga-device.js';
import { allDevices } from './implied-devices.js';
import type { MachineSpec } from './spec.js';

/** Where distributions put it, behind the folders of -L. */
const FOLDERS = [
  '/usr/share/seabios',
  '/usr/share/qemu',
  '/usr/share/vgabios',
  '/usr/local/share/qemu',
] as const;
const VGA_BIOS = 'vgabios-stdvga.bin';
const MAX_BYTES = 1 << 20;
const SIGNATURE = 0xaa55;

type Reader = Pick<Files, 'readFile'>;

/** By id of the device. A card whose BIOS is nowhere has none. VmError: a file that was named. */
export async function loadRoms(
  spec: MachineSpec,
  files: Reader,
): Promise<ReadonlyMap<string, Buffer>> {
  const roms = new Map<string, Buffer>();
  for (const { model, id, properties } of allDevices(spec)) {
    if (model !== VGA_MODEL) continue;
    const { romfile } = properties as { romfile?: string };
    const rom =
      romfile === undefined
        ? await anyOf([...(spec.dataDirs ?? []), ...FOLDERS], files)
        : await named(romfile, files);
    if (rom) roms.set(id, rom);
  }
  return roms;
}

async function anyOf(folders: readonly string[], files: Reader): Promise<Buffer | undefined> {
  for (const folder of folders) {
    const bytes = await files.readFile(`${folder}/${VGA_BIOS}`).catch(() => undefined);
    if (bytes && isRom(bytes)) return Buffer.from(bytes);
  }
  return undefined;
}

async function named(path: string, files: Reader): Promise<Buffer | undefined> {
  if (path === '') return undefined;
  const option = `-device ${VGA_MODEL},romfile=${path}`;
  const bytes = await files.readFile(path).catch((error: unknown) => {
    throw asVmError(error).during(option);
  });
  if (!isRom(bytes))
    throw new VmError(`${option}: not the ROM of a card: it begins with 55 aa, at most 1 MiB long`);
  return Buffer.from(bytes);
}

const isRom = (bytes: Uint8Array): boolean =>
  bytes.length >= 3 && bytes.length <= MAX_BYTES && (bytes[0] | (bytes[1] << 8)) === SIGNATURE;
