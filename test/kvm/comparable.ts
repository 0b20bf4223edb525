/**
 * SYSENTER_ESP and _EIP: an AMD processor keeps 32 bits of them, for it has no SYSENTER in long
 * mode.
 */
const sysenter = new Set([0x175, 0x176]);

/**
 * A vCPU image without what never stands still: TSC, the APIC timer's count; and without what a KVM
 * of few MSRs does not have.
 */
export function comparable(image: Buffer): { fixed: string; msrs: Record<string, string> } {
  const EVENTS = 5080;
  const INTERRUPT = EVENTS + 8;
  const LAPIC = 5152;
  const MSRS = 6176;
  const CURRENT_COUNT = LAPIC + 0x390;
  const INITIAL_COUNT = LAPIC + 0x380;
  const copy = Buffer.from(image);
  // A one-shot timer may run out between two looks, and KVM then has none at all
  // (native/kvm/state.cc).
  if ((copy.readUInt32LE(LAPIC + 0x320) & (3 << 17)) === 0)
    copy.fill(0, INITIAL_COUNT, INITIAL_COUNT + 4);
  copy.fill(0, CURRENT_COUNT, CURRENT_COUNT + 4);
  copy.fill(0, LAPIC + 0x30, LAPIC + 0x34); // version: KVM's may have one LVT entry more
  // PPR: worked out of TPR and ISR, by KVM when it is needed
  copy.fill(0, LAPIC + 0xa0, LAPIC + 0xa4);
  // The APIC timer may come due between two looks.
  const timerVector = copy[LAPIC + 0x320];
  copy[LAPIC + 0x200 + (timerVector >> 5) * 16 + ((timerVector & 31) >> 3)] &= ~(
    1 <<
    (timerVector & 7)
  );
  // The numbers of an exception and an interrupt mean nothing when there is none.
  if (copy[EVENTS] === 0 && copy[EVENTS + 3] === 0) copy.fill(0, EVENTS + 1, EVENTS + 8);
  if (copy[INTERRUPT] === 0) copy.fill(0, INTERRUPT + 1, INTERRUPT + 3);
  const msrs: Record<string, string> = {};
  for (let at = MSRS; at < image.length; at += 16) {
    const index = image.readUInt32LE(at);
    const read = image.readBigUInt64LE(at + 8);
    const value = sysenter.has(index) ? read & 0xffff_ffffn : read;
    if (index !== 0x10 && index !== 0x3b && index !== 0x4b564dff && value !== 0n)
      msrs[index.toString(16)] = value.toString(16);
  }
  return { fixed: copy.subarray(8, MSRS).toString('hex'), msrs };
}
