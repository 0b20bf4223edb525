/** From the numbers in a VGA's memory to colours: the attribute controller and the DAC. */
import { vbeEnabled, Vbe, VbeEnable } from './vbe.js';
import { Attribute, type VgaState } from './vga-state.js';

const SELECT_4_AND_5 = 0x80;

/** The 256 colours of the DAC, 0x00RRGGBB, through its mask. */
export function dacColors(s: VgaState): Uint32Array {
  const wide = vbeEnabled(s) && (s.vbe[Vbe.ENABLE] & VbeEnable.DAC_8BIT) !== 0;
  const scale = (v: number) => (wide ? v : ((v & 0x3f) << 2) | ((v & 0x3f) >> 4));
  const colors = new Uint32Array(256);
  for (let i = 0; i < 256; i++) {
    const at = (i & s.dacMask) * 3;
    colors[i] =
      (scale(s.palette[at]) << 16) | (scale(s.palette[at + 1]) << 8) | scale(s.palette[at + 2]);
  }
  return colors;
}

/** The sixteen colours of text and of four planes. */
export function attributeColors(s: VgaState, dac: Uint32Array): Uint32Array {
  const { attribute: a } = s;
  const colors = new Uint32Array(16);
  const select = a[Attribute.COLOR_SELECT];
  for (let i = 0; i < 16; i++) {
    const entry = a[i & a[Attribute.PLANE_ENABLE] & 0xf] & 0x3f;
    const replaces = (a[Attribute.MODE] & SELECT_4_AND_5) !== 0;
    const low = replaces ? (entry & 0xf) | ((select & 3) << 4) : entry;
    colors[i] = dac[low | ((select & 0xc) << 4)];
  }
  return colors;
}
