#include "kvm/cpuid.h"

#include <cpuid.h>

#include <cstring>

#include "kvm/abi.h"

namespace colo::kvm {

namespace {

struct Leaf {
  u32 number;
  u32 subleaves = 1;
};
/// An entry with one sub-leaf answers whatever ECX holds, except in leaves where ECX is
/// significant.
constexpr Leaf kLeaves[] = {{0},          {1},          {2},          {3},          {4},
                            {5},          {6},          {7},          {0xb, 3},     {0xd, 2},
                            {0x40000000}, {0x40000001}, {0x80000000}, {0x80000001}, {0x80000002},
                            {0x80000003}, {0x80000004}, {0x80000005}, {0x80000006}, {0x80000007},
                            {0x80000008}, {0x80000021}};

bool indexed(u32 leaf) { return leaf == 7 || leaf == 0xb || leaf == 0xd; }

const kvm_cpuid_entry2* find(const std::vector<kvm_cpuid_entry2>& all, u32 leaf, u32 subleaf) {
  for (const kvm_cpuid_entry2& e : all)
    if (e.function == leaf && e.index == subleaf) return &e;
  return nullptr;
}

void append(std::string& text, u32 word) {
  text.append(reinterpret_cast<const char*>(&word), sizeof word);
}

std::string host_vendor() {
  u32 r[4];
  __cpuid(0, r[0], r[1], r[2], r[3]);
  std::string vendor;
  append(vendor, r[1]), append(vendor, r[3]), append(vendor, r[2]);
  return vendor;
}

std::string host_brand() {
  std::string brand;
  u32 r[4];
  __cpuid(0x80000000, r[0], r[1], r[2], r[3]);
  for (u32 leaf = 0x80000002; r[0] >= 0x80000004 && leaf <= 0x80000004; leaf++) {
    u32 w[4];
    __cpuid(leaf, w[0], w[1], w[2], w[3]);
    for (u32 word : w) append(brand, word);
  }
  return brand.c_str();  // up to its first zero
}

}  // namespace

void set_cpuid(const Fd& vcpu, const vcpu::CpuModel& model, u32 apic_id) {
  std::vector<kvm_cpuid_entry2> entries;
  for (const Leaf& leaf : kLeaves) {
    for (u32 subleaf = 0; subleaf < leaf.subleaves; subleaf++) {
      u32 out[4];
      vcpu::model::cpuid(model, apic_id, leaf.number, subleaf, true, out);
      kvm_cpuid_entry2 e{};
      e.function = leaf.number;
      e.index = subleaf;
      e.flags = indexed(leaf.number) ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0;
      e.eax = out[0], e.ebx = out[1], e.ecx = out[2], e.edx = out[3];
      entries.push_back(e);
    }
  }
  vcpu.call("KVM_SET_CPUID2", kSetCpuid2, CpuidList(entries).data());
}

/// Intel hosts do not repeat leaf 1 in 80000001 EDX, and have no mmxext: a part of SSE, which they
/// do have. APIC, x2APIC and the hypervisor bit are KVM's own to give with its chips.
vcpu::CpuModel host_model(const Device& device) {
  const std::vector<kvm_cpuid_entry2> all = device.supported_cpuid();
  const kvm_cpuid_entry2 none{};
  const auto at = [&](u32 leaf, u32 subleaf = 0) -> const kvm_cpuid_entry2& {
    const kvm_cpuid_entry2* e = find(all, leaf, subleaf);
    return e ? *e : none;
  };
  constexpr u32 kApic = 1 << 9, kX2apic = 1 << 21, kHypervisor = 1u << 31, kMmxext = 1 << 22,
                kSse = 1 << 25;
  vcpu::CpuModel m;
  m.name = "host";
  m.vendor = host_vendor();
  m.signature = at(1).eax;
  m.brand = host_brand();
  m.features = {at(1).ecx | kX2apic | kHypervisor,
                at(1).edx | kApic,
                at(7).ebx,
                at(7).ecx,
                at(0x80000001).ecx,
                at(0x80000001).edx,
                at(0x40000001).eax,
                at(0xd, 1).eax};
  if (m.features.edx1 & kSse) m.features.edx81 |= kMmxext;
  return m;
}

}  // namespace colo::kvm
