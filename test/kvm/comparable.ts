/** A vCPU image without what never stands still: TSC, the APIC timer's count; and without what a KVM of few MSRs does not have. */
export function comparable(image: Buffer): { fixed: string; msrs: Record<string, string> } {
  const LAPIC = 5152;
  const MSRS = 6176;
  const CURRENT_COUNT = LAPIC + 0x390;
  const copy = Buffer.from(image);
  copy.fill(0, CURRENT_COUNT, CURRENT_COUNT + 4);
  copy.fill(0, LAPIC + 0x30, LAPIC + 0x34); // version: KVM's may have one LVT entry more
  const msrs: Record<string, string> = {};
  for (let at = MSRS; at < image.length; at += 16) {
    const index = image.readUInt32LE(at);
    const value = image.readBigUInt64LE(at + 8);
    if (index !== 0x10 && index !== 0x3b && index !== 0x4b564dff && value !== 0n) msrs[index.toString(16)] = value.toString(16);
  }
  return { fixed: copy.subarray(8, MSRS).toString('hex'), msrs };
}
