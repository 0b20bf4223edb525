/**
 * The common configuration structure and where the others lie (virtio 1.1, sections 4.1.4.3 to
 * 4.1.4.7).
 */
export const Window = {
  COMMON: 0x0000,
  ISR: 0x1000,
  DEVICE: 0x2000,
  NOTIFY: 0x3000,
  SIZE: 0x4000,
  EACH: 0x1000,
} as const;
export const NOTIFY_MULTIPLIER = 4;

export const Common = {
  DEVICE_FEATURE_SELECT: 0x00,
  DEVICE_FEATURE: 0x04,
  DRIVER_FEATURE_SELECT: 0x08,
  DRIVER_FEATURE: 0x0c,
  CONFIG_VECTOR: 0x10,
  QUEUE_COUNT: 0x12,
  STATUS: 0x14,
  GENERATION: 0x15,
  QUEUE_SELECT: 0x16,
  QUEUE_SIZE: 0x18,
  QUEUE_VECTOR: 0x1a,
  QUEUE_ENABLE: 0x1c,
  QUEUE_NOTIFY_OFF: 0x1e,
  QUEUE_DESC: 0x20,
  QUEUE_DRIVER: 0x28,
  QUEUE_DEVICE: 0x30,
  SIZE: 0x38,
} as const;

/** Device status bits (section 2.1). */
export const DeviceStatus = {
  ACKNOWLEDGE: 1,
  DRIVER: 2,
  DRIVER_OK: 4,
  FEATURES_OK: 8,
  NEEDS_RESET: 64,
  FAILED: 128,
} as const;
export const Isr = { QUEUE: 1, CONFIG: 2 } as const;
export const CapType = { COMMON: 1, NOTIFY: 2, ISR: 3, DEVICE: 4, PCI: 5 } as const;

/** Body of a virtio PCI capability, from cap_len on. */
export function capabilityBody(
  type: number,
  bar: number,
  offset: number,
  length: number,
  extra: number[] = [],
): Buffer {
  const b = Buffer.alloc(14);
  b[0] = 16 + extra.length;
  b[1] = type;
  b[2] = bar;
  b.writeUInt32LE(offset, 6);
  b.writeUInt32LE(length, 10);
  return Buffer.concat([b, Buffer.from(extra)]);
}
