#include "kvm/cpuid.h"

#include "kvm/abi.h"

namespace colo::kvm {

namespace {

constexpr u32 kLeaves[] = {0,          1,          2,          3,          4,          5,          6,          7,          0x40000000,
                           0x40000001, 0x80000000, 0x80000001, 0x80000002, 0x80000003, 0x80000004, 0x80000005, 0x80000006, 0x80000007,
                           0x80000008, 0x80000021};

constexpr const char* kLeaf1Edx[32] = {"fpu",  "vme",    "de",    "pse",   "tsc",    "msr", "pae", "mce",  "cx8",  "apic", nullptr,
                                       "sep",  "mtrr",   "pge",   "mca",   "cmov",   "pat", "pse36", "pn",  "clflush", nullptr, "ds",
                                       "acpi", "mmx",    "fxsr",  "sse",   "sse2",   "ss",  "ht",   "tm",  "ia64",  "pbe"};

struct Word {
  u32 leaf;
  int reg;  // 0..3: eax ebx ecx edx
  const char* name;
  u32 ignored;  // bits that say something of the machine, not of what it can execute
};
/// The words whose bits are instructions or registers. The hypervisor bit and x2APIC are KVM's own to give.
constexpr Word kWords[] = {{1, 2, "CPUID 1 ECX", 1u << 31}, {1, 3, "CPUID 1 EDX", 0}, {7, 1, "CPUID 7 EBX", 0}, {0x80000001, 2, "CPUID 80000001 ECX", 0},
                           {0x80000001, 3, "CPUID 80000001 EDX", 0}};

u32 word_of(const std::vector<kvm_cpuid_entry2>& all, u32 leaf, int reg) {
  for (const kvm_cpuid_entry2& e : all) {
    if (e.function != leaf || e.index != 0) continue;
    const u32 words[4] = {e.eax, e.ebx, e.ecx, e.edx};
    return words[reg];
  }
  return 0;
}

std::string name_of(const Word& word, int bit) {
  if (word.leaf == 1 && word.reg == 3 && kLeaf1Edx[bit]) return kLeaf1Edx[bit];
  if (word.leaf == 1 && word.reg == 2 && bit == 13) return "cx16";
  if (word.leaf == 1 && word.reg == 2 && bit == 21) return "x2apic";
  if (word.leaf == 0x80000001 && word.reg == 3 && bit == 11) return "syscall";
  if (word.leaf == 0x80000001 && word.reg == 3 && bit == 20) return "nx";
  if (word.leaf == 0x80000001 && word.reg == 3 && bit == 22) return "mmxext";
  if (word.leaf == 0x80000001 && word.reg == 3 && bit == 29) return "lm";
  if (word.leaf == 0x80000001 && word.reg == 2 && bit == 0) return "lahf_lm";
  return std::string(word.name) + " bit " + std::to_string(bit);
}

/// Intel hosts do not repeat leaf 1 in 80000001 EDX, and have no mmxext: a part of SSE, which they do have.
constexpr u32 kAmdOnly = 0x0183f3ff | 1u << 22;

void require_model(const std::vector<kvm_cpuid_entry2>& supported) {
  for (const Word& word : kWords) {
    u32 model[4];
    vcpu::model::cpuid(word.leaf, 0, true, model);
    u32 missing = model[word.reg] & ~word.ignored & ~word_of(supported, word.leaf, word.reg);
    if (word.leaf == 0x80000001 && word.reg == 3) missing &= ~kAmdOnly;
    if (missing) throw Error("this host's KVM cannot give CPU model soft-v1: it lacks " + name_of(word, __builtin_ctz(missing)));
  }
}

}  // namespace

void set_cpuid(const Fd& vcpu, const std::vector<kvm_cpuid_entry2>& supported) {
  require_model(supported);
  std::vector<kvm_cpuid_entry2> entries;
  for (u32 leaf : kLeaves) {
    u32 out[4];
    vcpu::model::cpuid(leaf, 0, true, out);
    kvm_cpuid_entry2 e{};
    e.function = leaf;
    e.flags = leaf == 7 ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0;
    e.eax = out[0], e.ebx = out[1], e.ecx = out[2], e.edx = out[3];
    entries.push_back(e);
  }
  vcpu.call("KVM_SET_CPUID2", kSetCpuid2, CpuidList(entries).data());
}

}  // namespace colo::kvm
