/** What a modern virtio function over PCI keeps (virtio 1.1, section 4.1.4.3), as it is saved. */
import { VmError } from '../../base/errors.js';
import { array, type Field, u16, u32, u64, u8 } from '../../fields/field.js';
import { vmstate } from '../../fields/vmstate.js';
import type { StateOf } from '../device.js';
import { configField } from '../pci/config-space.js';
import { msixField, NO_VECTOR } from '../pci/msix.js';
import { Isr } from './common-config.js';
import { queueField } from './virtqueue.js';

export function virtioPciState<S>(
  name: string,
  queues: number,
  offered: bigint,
  model: Field<S>,
  version = 1,
) {
  return vmstate(
    name,
    version,
    {
      config: configField,
      msix: msixField(queues + 1),
      isr: u8.mask(Isr.QUEUE | Isr.CONFIG),
      status: u8,
      deviceFeatureSelect: u32,
      driverFeatureSelect: u32,
      driverFeatures: u64,
      configVector: u16.initially(NO_VECTOR),
      generation: u8,
      queueSelect: u16,
      queues: array(queueField, queues),
      model,
    },
    s => {
      if ((s.driverFeatures & ~offered) !== 0n)
        throw new VmError(
          `driverFeatures: 0x${s.driverFeatures.toString(16)} has bits that this device does ` +
            'not offer',
        );
    },
  );
}
export type VirtioPciState<S> = StateOf<ReturnType<typeof virtioPciState<S>>>;

/** The 32-bit half of a feature mask or address; there are only two. */
export function half(value: bigint, select: number): number {
  return select > 1 ? 0 : Number(BigInt.asUintN(32, value >> BigInt(32 * select)));
}

/** The same value with another word in that half. */
export function withHalf(value: bigint, select: number, word: number): bigint {
  if (select > 1) return value;
  const shift = BigInt(32 * select);
  return (value & ~(0xffff_ffffn << shift)) | (BigInt(word) << shift);
}
