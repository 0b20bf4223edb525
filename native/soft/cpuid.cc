// CPUID model soft-v1: x86-64 baseline plus CMPXCHG16B, as an AMD family 15 processor under KVM (AMD APM vol. 3, app. E; the kernel's KVM
// cpuid.rst). Family 15 draws the fewest quirks from Linux: not affected by Meltdown, L1TF, MDS, SSB or Retbleed, no PMU or topology leaves
// expected. The bytes are fixed: a guest may move between hosts and backends, so nothing here may depend on the host. For the same reason
// there is no invariant TSC, no TSC-deadline timer and no leaf that states frequencies: two backends count their TSCs at different rates,
// and a guest that is not offered the TSC keeps time by kvmclock, which each backend writes in its own terms. No RDTSCP either: not every
// KVM has it, and a guest that wants it has RDTSC.
#include <cstring>

#include "soft/system.h"
#include "vcpu/model.h"

namespace colo::soft {

namespace {

constexpr u32 bit(unsigned n) { return 1u << n; }

constexpr u32 kMaxBasic = 7, kMaxHypervisor = 0x40000001, kMaxExtended = 0x80000021;
constexpr u32 kSignature = 0x00060fb1;  // family 15, model 0x6b, stepping 1

// Leaf 1 EDX: fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2. No vme: no virtual-8086 mode.
constexpr u32 kFeatures = 0x078bfbfd;
constexpr u32 kApic = bit(9);
constexpr u32 kFeaturesEcx = bit(13) /* cx16 */ | bit(21) /* x2apic */ | bit(31) /* hypervisor */;
constexpr u32 kMirrored = 0x0183f3ff;  // leaf 1 bits that AMD repeats in 80000001 EDX
constexpr u32 kExtended = bit(11) /* syscall */ | bit(20) /* nx */ | bit(22) /* mmxext */ | bit(29) /* lm */;

constexpr char kVendor[] = "AuthenticAMD";
constexpr char kKvm[] = "KVMKVMKVM\0\0";
constexpr char kBrand[49] = "colo software CPU (soft-v1)";

u32 word(const char* s, int index) {
  u32 v;
  memcpy(&v, s + index * 4, 4);
  return v;
}

void set(u32 out[4], u32 eax, u32 ebx, u32 ecx, u32 edx) { out[0] = eax, out[1] = ebx, out[2] = ecx, out[3] = edx; }

/// CPUID shows the APIC only while APIC_BASE enables it.
u32 visible_features(bool apic) { return apic ? kFeatures : kFeatures & ~kApic; }

void basic(u32 leaf, u32 subleaf, u32 out[4], bool apic) {
  switch (leaf) {
    case 0:
      return set(out, kMaxBasic, word(kVendor, 0), word(kVendor, 2), word(kVendor, 1));
    case 1:
      return set(out, kSignature, 1u << 16 | 8u << 8, kFeaturesEcx,
                 visible_features(apic));  // one logical processor, 64-byte lines, APIC id 0
    case 6:
      return set(out, bit(2), 0, 0, 0);  // ARAT: the APIC timer never stops
    case 7:
      return set(out, 0, subleaf == 0 ? bit(1) : 0, 0, 0);  // TSC_ADJUST
    default:
      return;
  }
}

void hypervisor(u32 leaf, u32 out[4]) {
  constexpr u32 kNoIoDelay = bit(1), kClocksource2 = bit(3), kClockStable = bit(24);
  switch (leaf) {
    case 0x40000000:
      return set(out, kMaxHypervisor, word(kKvm, 0), word(kKvm, 1), word(kKvm, 2));
    case 0x40000001:
      return set(out, kNoIoDelay | kClocksource2 | kClockStable, 0, 0, 0);
    default:
      return;
  }
}

void extended(u32 leaf, u32 out[4], bool apic) {
  switch (leaf) {
    case 0x80000000:
      return set(out, kMaxExtended, word(kVendor, 0), word(kVendor, 2), word(kVendor, 1));
    case 0x80000001:
      return set(out, kSignature, 0, bit(0) /* lahf_lm */, (visible_features(apic) & kMirrored) | kExtended);
    case 0x80000002 ... 0x80000004: {
      const int at = (leaf - 0x80000002) * 4;
      return set(out, word(kBrand, at), word(kBrand, at + 1), word(kBrand, at + 2), word(kBrand, at + 3));
    }
    case 0x80000005:
      return set(out, 0x01ff01ff, 0x01ff01ff, 0x40020140, 0x40020140);  // L1: 64 KB, 2-way, 64-byte lines
    case 0x80000006:
      return set(out, 0, 0x42004200, 0x02008140, 0);  // L2: 512 KB, 16-way
    case 0x80000008:
      return set(out, 48u << 8 | sys::kPhysBits, bit(2), 0, 0);  // FXSAVE always keeps the x87 error pointers; one core
    case 0x80000021:
      return set(out, bit(2) | bit(6), 0, 0, 0);  // LFENCE serializes; a NULL selector clears the base
    default:
      return;
  }
}

}  // namespace

void cpuid(u32 leaf, u32 subleaf, u32 out[4], const Cpu& c) {
  constexpr u64 kEnable = 1 << 11;
  vcpu::model::cpuid(leaf, subleaf, !c.chip || (c.chip->apic_base() & kEnable), out);
}

}  // namespace colo::soft

namespace colo::vcpu::model {

void cpuid(u32 leaf, u32 subleaf, bool apic, u32 out[4]) {
  soft::set(out, 0, 0, 0, 0);  // unknown leaves, as on AMD
  switch (leaf >> 28) {
    case 0:
      return soft::basic(leaf, subleaf, out, apic);
    case 4:
      return soft::hypervisor(leaf, out);
    case 8:
      return soft::extended(leaf, out, apic);
    default:
      return;
  }
}

}  // namespace colo::vcpu::model
