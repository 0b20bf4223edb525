#include "kvm/convert.h"

#include <cstring>

namespace colo::kvm {

namespace {

constexpr size_t kMxcsr = 24 / 4, kMxcsrMask = 28 / 4, kX87 = 32 / 4, kXmm = 160 / 4,
                 kLegacyUsed = 416 / 4, kXstateBv = 512 / 4;
constexpr u32 kX87Bit = 1, kSseBit = 2;
constexpr u32 kLegacyControl = 0x037f;  // FCW of an x87 that nobody has touched
constexpr size_t kLvtTimer = 0x320, kInitialCount = 0x380, kCurrentCount = 0x390;

/// What a null or an empty segment still holds differs between processors and means nothing.
void normalize(kvm_segment& s) {
  s.padding = 0;
  s.unusable = s.unusable || !s.present;
  if (s.unusable) s.present = 0;
  if (s.g) s.limit |= 0xfff;
  else if (s.limit > 0xfffff) s.g = 1, s.limit |= 0xfff;
}

u32 apic_register(const kvm_lapic_state& apic, size_t at) {
  u32 value;
  memcpy(&value, apic.regs + at, sizeof value);
  return value;
}

bool one_shot_ran_out(const kvm_lapic_state& apic) {
  constexpr u32 kMode = 3 << 17;
  return !(apic_register(apic, kLvtTimer) & kMode) && apic_register(apic, kInitialCount) &&
         !apic_register(apic, kCurrentCount);
}

kvm_lapic_state with_register(kvm_lapic_state apic, size_t at, u32 value) {
  memcpy(apic.regs + at, &value, sizeof value);
  return apic;
}

}  // namespace

void normalize(vcpu::XsaveArea& x) {
  vcpu::XsaveArea in = x;
  x = {};
  const u32 present = in.region[kXstateBv];
  if (present & kX87Bit) {
    memcpy(x.region, in.region, 8);
    memcpy(x.region + kX87, in.region + kX87, (kXmm - kX87) * 4);
  } else {
    x.region[0] = kLegacyControl;
  }
  if (present & kSseBit) memcpy(x.region + kXmm, in.region + kXmm, (kLegacyUsed - kXmm) * 4);
  x.region[kMxcsr] = in.region[kMxcsr];
  x.region[kMxcsrMask] = 0xffff;
  x.region[kXstateBv] = kX87Bit | kSseBit;
}

void normalize(kvm_sregs& s) {
  for (kvm_segment* seg : {&s.cs, &s.ds, &s.es, &s.fs, &s.gs, &s.ss, &s.tr, &s.ldt})
    normalize(*seg);
  memset(s.gdt.padding, 0, sizeof s.gdt.padding);
  memset(s.idt.padding, 0, sizeof s.idt.padding);
  memset(s.interrupt_bitmap, 0, sizeof s.interrupt_bitmap);  // the events say it too
}

kvm_lapic_state lapic_from_kvm(const kvm_lapic_state& apic) {
  return one_shot_ran_out(apic) ? with_register(apic, kCurrentCount, 1) : apic;
}

kvm_lapic_state lapic_for_kvm(const kvm_lapic_state& image) {
  return one_shot_ran_out(image) ? with_register(image, kInitialCount, 0) : image;
}

}  // namespace colo::kvm
