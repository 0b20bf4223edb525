/**
 * The chips' state blob by name: one struct of <linux/kvm.h> after the other (native/vcpu/image.h).
 */
import { assert } from '../base/errors.js';

const SIZE = 1728;
/** In kvm_pic_state, of the master and of the slave. */
const ELCR = [30, 550] as const;

/** Sets the ELCR so that these inputs of the 8259s are levels, and the others edges. */
export function withLevelIrqs(chips: Uint8Array, irqs: readonly number[]): Buffer {
  assert(chips.length === SIZE, 'the chips are laid out as native/vcpu/image.h says');
  const changed = Buffer.from(chips);
  ELCR.forEach((at, chip) => {
    const bits = irqs.filter(irq => irq >> 3 === chip).map(irq => 1 << (irq & 7));
    changed[at] = bits.reduce((all, bit) => all | bit, 0);
  });
  return changed;
}
