// CPUID of a CPU model. Model soft-v1, of which the software CPU's others are extensions: x86-64
// baseline plus CMPXCHG16B, as an AMD family 15 processor under KVM (AMD APM vol. 3, app. E; the
// kernel's KVM cpuid.rst). Family 15 draws the fewest quirks from Linux: not affected by Meltdown,
// L1TF, MDS, SSB or Retbleed, no PMU expected. The bytes are fixed: a guest may move between hosts
// and backends, so nothing here may depend on the host. For the same reason there is no invariant
// TSC, no TSC-deadline timer and no leaf that states frequencies: two backends count their TSCs at
// different rates, and a guest that is not offered the TSC keeps time by kvmclock, which each
// backend writes in its own terms. No RDTSCP either: not every KVM has it, and a guest that wants
// it has RDTSC. With one processor there are no topology leaves.
#include <algorithm>
#include <cstring>

#include "soft/fpu/fpu_table.h"
#include "soft/system/system.h"
#include "vcpu/model.h"

namespace colo::soft {

namespace {

using vcpu::CpuModel;
using vcpu::Topology;

constexpr u32 bit(unsigned n) { return 1u << n; }

constexpr u32 kMaxBasic = 7, kTopologyLeaf = 0xb, kXsaveLeaf = 0xd, kMaxHypervisor = 0x40000001,
              kMaxExtended = 0x80000021;
constexpr u32 kApic = bit(9), kHyperThreading = bit(28), kCmpLegacy = bit(1);
constexpr u32 kMirrored = 0x0183f3ff;  // leaf 1 bits that AMD repeats in 80000001 EDX
constexpr char kKvm[] = "KVMKVMKVM\0\0";

CpuModel make_soft_v1() {
  CpuModel m;
  m.name = "soft-v1";
  m.vendor = vcpu::kAmd;
  m.signature = 0x00060fb1;  // family 15, model 0x6b, stepping 1
  m.brand = "colo software CPU (soft-v1)";
  m.features.ecx1 = bit(13) /* cx16 */ | bit(21) /* x2apic */ | bit(31) /* hypervisor */;
  // fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2.
  // No vme: no virtual-8086 mode.
  m.features.edx1 = 0x078bfbfd;
  m.features.ebx7 = bit(1) /* TSC_ADJUST */;
  m.features.ecx81 = bit(0) /* lahf_lm */;
  m.features.edx81 =
      bit(11) /* syscall */ | bit(20) /* nx */ | bit(22) /* mmxext */ | bit(29) /* lm */;
  m.features.kvm =
      bit(1) /* no I/O delay */ | bit(3) /* kvmclock */ | bit(24) /* kvmclock is stable */;
  return m;
}

/// Text as CPUID gives it, zero behind its end.
u32 word(const char* s, size_t length, size_t index) {
  char bytes[4] = {};
  if (index * 4 < length) memcpy(bytes, s + index * 4, std::min<size_t>(4, length - index * 4));
  u32 v;
  memcpy(&v, bytes, 4);
  return v;
}
u32 word(const std::string& s, size_t index) { return word(s.data(), s.size(), index); }

void set(u32 out[4], u32 eax, u32 ebx, u32 ecx, u32 edx) {
  out[0] = eax, out[1] = ebx, out[2] = ecx, out[3] = edx;
}

/// One logical processor of one CPU model.
struct View {
  const CpuModel& m;
  u32 apic_id;
  bool apic;
  const Topology& t = m.topology;

  u32 in_package() const { return t.cores * t.threads; }
  /// CPUID shows the APIC only while APIC_BASE enables it.
  u32 features() const {
    const u32 shown = apic ? m.features.edx1 : m.features.edx1 & ~kApic;
    return in_package() > 1 ? shown | kHyperThreading : shown;
  }
  u32 extended_features() const {
    return m.features.edx81 | (m.amd() ? features() & kMirrored : 0);
  }

  void basic(u32 leaf, u32 subleaf, u32 out[4]) const;
  void topology(u32 subleaf, u32 out[4]) const;
  bool has_xsave() const { return m.features.ecx1 & vcpu::Features::XSAVE; }
  void xsave(u32 subleaf, u32 out[4]) const;
  void hypervisor(u32 leaf, u32 out[4]) const;
  void extended(u32 leaf, u32 out[4]) const;
};

void View::basic(u32 leaf, u32 subleaf, u32 out[4]) const {
  switch (leaf) {
    case 0:
      return set(out,
                 has_xsave()    ? kXsaveLeaf
                 : t.cpus() > 1 ? kTopologyLeaf
                                : kMaxBasic,
                 word(m.vendor, 0), word(m.vendor, 2), word(m.vendor, 1));
    case 1:  // 64-byte lines
      return set(out, m.signature, apic_id << 24 | in_package() << 16 | 8u << 8, m.features.ecx1,
                 features());
    case 6:
      return set(out, bit(2), 0, 0, 0);  // ARAT: the APIC timer never stops
    case 7:
      return subleaf == 0 ? set(out, 0, m.features.ebx7, m.features.ecx7, 0) : set(out, 0, 0, 0, 0);
    case kTopologyLeaf:
      return t.cpus() > 1 ? topology(subleaf, out) : set(out, 0, 0, 0, 0);
    case kXsaveLeaf:
      return has_xsave() ? xsave(subleaf, out) : set(out, 0, 0, 0, 0);
    default:
      return;
  }
}

/// Level 0: threads of a core; level 1: of a package (SDM vol. 2, CPUID). The x2APIC id stands in
/// each.
void View::topology(u32 subleaf, u32 out[4]) const {
  constexpr u32 kThread = 1 << 8, kCore = 2 << 8;
  if (subleaf == 0) return set(out, t.thread_bits(), t.threads, kThread, apic_id);
  if (subleaf == 1) return set(out, t.package_bits(), in_package(), kCore | 1, apic_id);
  return set(out, 0, 0, subleaf & 0xff, apic_id);
}

/// Which bits XCR0 can have, and how large an image is with those that it has and with all; here
/// it has all. Then AVX's size and place.
void View::xsave(u32 subleaf, u32 out[4]) const {
  const u32 form = m.features.xsave1, states = sys::states_of(m.features);
  const u32 bytes = static_cast<u32>(sys::xsave_bytes(states));
  if (subleaf == 0) return set(out, states, bytes, bytes, 0);
  if (subleaf == 1) return set(out, form, form & vcpu::Features::XSAVEC ? bytes : 0, 0, 0);
  const bool avx = subleaf == 2 && states & sys::kAvx;
  return avx ? set(out, sys::kAvxBytes, sys::kAvxAt, 0, 0) : set(out, 0, 0, 0, 0);
}

void View::hypervisor(u32 leaf, u32 out[4]) const {
  switch (leaf) {
    case 0x40000000:
      return set(out, kMaxHypervisor, word(kKvm, 12, 0), word(kKvm, 12, 1), word(kKvm, 12, 2));
    case 0x40000001:
      return set(out, m.features.kvm, 0, 0, 0);
    default:
      return;
  }
}

void View::extended(u32 leaf, u32 out[4]) const {
  switch (leaf) {
    case 0x80000000:
      return set(out, kMaxExtended, word(m.vendor, 0), word(m.vendor, 2), word(m.vendor, 1));
    case 0x80000001: {
      const bool many_cores = m.amd() && in_package() > 1;
      return set(out, m.signature, 0, m.features.ecx81 | (many_cores ? kCmpLegacy : 0),
                 extended_features());
    }
    case 0x80000002 ... 0x80000004: {
      const size_t at = (leaf - 0x80000002) * 4;
      return set(out, word(m.brand, at), word(m.brand, at + 1), word(m.brand, at + 2),
                 word(m.brand, at + 3));
    }
    case 0x80000005:
      return set(out, 0x01ff01ff, 0x01ff01ff, 0x40020140,
                 0x40020140);  // L1: 64 KB, 2-way, 64-byte lines
    case 0x80000006:
      return set(out, 0, 0x42004200, 0x02008140, 0);  // L2: 512 KB, 16-way
    case 0x80000008: {  // FXSAVE always keeps the x87 error pointers; how many processors a package
                        // has, and how wide their field is
      const u32 cores = in_package() > 1 ? t.package_bits() << 12 | (in_package() - 1) : 0;
      return set(out, 48u << 8 | sys::kPhysBits, bit(2), cores, 0);
    }
    case 0x80000021:
      return set(out, bit(2) | bit(6), 0, 0,
                 0);  // LFENCE serializes; a NULL selector clears the base
    default:
      return;
  }
}

}  // namespace

u8 fp_features(const vcpu::Features& f) {
  return static_cast<u8>(kBase | (f.ecx1 & f.SSE3 ? kSse3 : 0) | (f.ecx1 & f.SSSE3 ? kSsse3 : 0) |
                         (f.ecx1 & f.SSE41 ? kSse41 : 0) | (f.ecx1 & f.SSE42 ? kSse42 : 0) |
                         (f.ecx1 & f.AES ? kAes : 0) | (f.ecx1 & f.PCLMULQDQ ? kPclmul : 0));
}

void cpuid(u32 leaf, u32 subleaf, u32 out[4], const Cpu& c) {
  constexpr u64 kEnable = 1 << 11;
  vcpu::model::cpuid(*c.model, c.apic_id, leaf, subleaf, !c.chip || (c.chip->apic_base() & kEnable),
                     out);
  constexpr u32 kOsXsave = bit(27);
  if (leaf == 1 && c.cr4 & cr4::OSXSAVE) out[2] |= kOsXsave;
  const bool sized = leaf == kXsaveLeaf && subleaf < 2 && out[1];
  if (sized) out[1] = static_cast<u32>(sys::xsave_bytes(c.xcr0));
}

}  // namespace colo::soft

namespace colo::vcpu {

const CpuModel& soft_v1() {
  static const CpuModel model = soft::make_soft_v1();
  return model;
}

Features soft_features() {
  Features f = soft_v1().features;
  if (__builtin_cpu_supports("sse3")) f.ecx1 |= Features::SSE3;
  if (__builtin_cpu_supports("ssse3")) f.ecx1 |= Features::SSSE3;
  if (__builtin_cpu_supports("sse4.1")) f.ecx1 |= Features::SSE41;
  if (__builtin_cpu_supports("sse4.2")) f.ecx1 |= Features::SSE42;
  if (__builtin_cpu_supports("aes")) f.ecx1 |= Features::AES;
  if (__builtin_cpu_supports("pclmul")) f.ecx1 |= Features::PCLMULQDQ;
  f.ecx1 |=
      Features::MOVBE | Features::POPCNT | Features::RDRAND | Features::PCID | Features::XSAVE;
  f.ebx7 |= Features::FSGSBASE | Features::CLFLUSHOPT | Features::SMEP | Features::SMAP |
            Features::INVPCID | Features::BMI1 | Features::BMI2 | Features::ADX;
  f.ecx81 |= Features::ABM;
  f.ecx7 |= Features::UMIP;
  f.edx81 |= Features::RDTSCP;
  f.xsave1 |= Features::XSAVEOPT | Features::XSAVEC | Features::XGETBV1;
  return f;
}

void model::cpuid(const CpuModel& m, u32 apic_id, u32 leaf, u32 subleaf, bool apic, u32 out[4]) {
  soft::set(out, 0, 0, 0, 0);  // unknown leaves, as on AMD
  const soft::View view{m, apic_id, apic};
  switch (leaf >> 28) {
    case 0:
      return view.basic(leaf, subleaf, out);
    case 4:
      return view.hypervisor(leaf, out);
    case 8:
      return view.extended(leaf, out);
    default:
      return;
  }
}

}  // namespace colo::vcpu
