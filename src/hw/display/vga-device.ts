/** `-device VGA`, which `-vga std` stands for. */
import { VmError } from '../../base/errors.js';
import { int, optional, str } from '../../words/types.js';
import { deviceType } from '../device-type.js';
import { ContainedDisplay } from './contained-display.js';
import { Vga } from './vga.js';

const MIB = 1 << 20;
export const VIDEO_BYTES = 16 * MIB;
export const VGA_MODEL = 'VGA';

export const vgaDevice = deviceType({
  name: VGA_MODEL,
  summary: 'graphics card: text, VGA and linear modes up to 2560x1600',
  properties: {
    romfile: optional(
      str("file of its BIOS; default vgabios-stdvga.bin of the firmware's folders; '': none"),
    ),
    vgamem_mb: optional(int('MiB of its memory: 16', { min: 1, max: 512 })),
  },
  example: 'vgamem_mb=16',
  plug(id, { vgamem_mb: mib = 16 }, slots) {
    if (mib * MIB !== VIDEO_BYTES)
      throw new VmError(`vgamem_mb=${mib} is not supported: it is ${VIDEO_BYTES / MIB}`);
    const { video } = slots;
    if (!video) throw new VmError('-device VGA: this machine has no memory for a graphics card');
    const vga = new Vga(id, video, slots.clock, slots.rom(id));
    slots.addPci(vga);
    vga.attach(slots.ports, slots.mmio);
    slots.display(new ContainedDisplay(vga, vga));
  },
});
