/**
 * The ISA bridge of a PIIX3 (Intel 82371SB data sheet, section 2.2), function 0 of its slot: there
 * where its IDE function is. Interrupts are not routed by its registers, which firmware fills in.
 */
import { vmstate } from '../../fields/vmstate.js';
import type { StateOf } from '../device.js';
import { Cfg, configField, ConfigLayout, MULTIFUNCTION } from '../pci/config-space.js';
import { type Bar, PciFunction } from '../pci/function.js';

const PIRQ_ROUTES = [0x60, 0x61, 0x62, 0x63] as const;
const NOT_ROUTED = 0x80;

export const piix3State = vmstate('piix3', 1, { config: configField });

export class Piix3 extends PciFunction<StateOf<typeof piix3State>> {
  readonly vmstate = piix3State;
  state = piix3State.reset();
  readonly description = 'ISA bridge';
  readonly bars: readonly Bar[] = [];
  readonly layout = new ConfigLayout({
    vendor: 0x8086,
    device: 0x7000,
    revision: 0,
    classCode: 0x060100,
    subsystemVendor: 0x1af4,
    subsystem: 0x1100,
    interruptPin: 0,
  });

  constructor(id: string) {
    super(id);
    this.layout.register(Cfg.HEADER, MULTIFUNCTION, 0);
    for (const at of PIRQ_ROUTES) this.layout.register(at, NOT_ROUTED, 0xff);
  }
}
