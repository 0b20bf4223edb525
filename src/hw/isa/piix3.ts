/**
 * The ISA bridge of a PIIX3 (Intel 82371SB data sheet, section 2.2), function 0 of its slot: there
 * where its IDE function is. What it does here is to route PCI's interrupts to the 8259s.
 */
import { vmstate } from '../../fields/vmstate.js';
import type { StateOf } from '../device.js';
import { Cfg, configField, ConfigLayout, MULTIFUNCTION } from '../pci/config-space.js';
import { type Bar, PciFunction } from '../pci/function.js';
import { PIRQS, type PirqRouter, routedByFirmware } from '../pci/pirq.js';

/** Of PIRQA; the others follow. */
const PIRQRC = 0x60;
const NOT_ROUTED = 0x80;
const IRQ = 0x0f;

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

  constructor(
    id: string,
    private readonly router: PirqRouter,
  ) {
    super(id);
    this.layout.register(Cfg.HEADER, MULTIFUNCTION, 0);
    for (let n = 0; n < PIRQS; n++) this.layout.register(PIRQRC + n, NOT_ROUTED, NOT_ROUTED + IRQ);
  }

  override reset(): void {
    super.reset();
    for (let n = 0; n < PIRQS; n++) this.state.config[PIRQRC + n] = NOT_ROUTED;
    this.route();
  }

  override afterLoad(): void {
    super.afterLoad();
    this.route();
  }

  override configWrite(offset: number, size: number, value: number): void {
    super.configWrite(offset, size, value);
    if (offset < PIRQRC + PIRQS && offset + size > PIRQRC) this.route();
  }

  override firmware(): void {
    for (let n = 0; n < PIRQS; n++) this.configWrite(PIRQRC + n, 1, routedByFirmware(n));
  }

  private route(): void {
    for (let n = 0; n < PIRQS; n++) {
      const register = this.state.config[PIRQRC + n];
      this.router.route(n, (register & NOT_ROUTED) === 0 ? register & IRQ : undefined);
    }
  }
}
