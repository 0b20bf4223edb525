// What a guest's CPU is: the features that CPUID shows, how the processors are packaged, and which
// states follow from that. Every backend shows a model the same way and judges an incoming state by
// the same rules, so that one which resumes here resumes there. (Implemented beside the software
// CPU.)
#pragma once
#include <string>

#include "vcpu/contract.h"

namespace colo::vcpu {

/// Packages, cores in each, threads in each core. An APIC id has a field for each of them, just
/// wide enough.
struct Topology {
  u32 sockets = 1, cores = 1, threads = 1;
  u32 cpus() const { return sockets * cores * threads; }
  /// Width of the thread's field.
  u32 thread_bits() const { return bits_for(threads); }
  /// Of thread's and core's.
  u32 package_bits() const { return thread_bits() + bits_for(cores); }
  u32 apic_id(u32 index) const {
    const u32 core = index / threads % cores, socket = index / threads / cores;
    return socket << package_bits() | core << thread_bits() | index % threads;
  }

 private:
  static u32 bits_for(u32 n) { return n <= 1 ? 0 : 32u - static_cast<u32>(__builtin_clz(n - 1)); }
};

/// The words of CPUID whose bits are features: leaves 1, 7, 80000001, 40000001 (KVM's own), and EAX
/// of leaf D, sub-leaf 1.
/// JavaScript has the same order (src/accel/cpu-features.ts).
struct Features {
  /// Bits of the words, where somebody asks for one.
  static constexpr u32 SSE3 = 1 << 0, PCLMULQDQ = 1 << 1, SSSE3 = 1 << 9, CX16 = 1 << 13,
                       PCID = 1 << 17, SSE41 = 1 << 19, SSE42 = 1 << 20, MOVBE = 1 << 22,
                       POPCNT = 1 << 23, AES = 1 << 25, XSAVE = 1 << 26, AVX = 1 << 28,
                       RDRAND = 1 << 30;
  static constexpr u32 FSGSBASE = 1 << 0, BMI1 = 1 << 3, SMEP = 1 << 7, BMI2 = 1 << 8,
                       INVPCID = 1 << 10, ADX = 1 << 19, SMAP = 1 << 20,
                       CLFLUSHOPT = 1 << 23;         // ebx7
  static constexpr u32 UMIP = 1 << 2;                // ecx7
  static constexpr u32 LAHF = 1 << 0, ABM = 1 << 5;  // ecx81
  static constexpr u32 RDTSCP = 1 << 27;             // edx81

  static constexpr u32 XSAVEOPT = 1 << 0, XSAVEC = 1 << 1, XGETBV1 = 1 << 2;  // xsave1

  u32 ecx1 = 0, edx1 = 0, ebx7 = 0, ecx7 = 0, ecx81 = 0, edx81 = 0, kvm = 0, xsave1 = 0;
};

constexpr char kAmd[] = "AuthenticAMD";

struct CpuModel {
  std::string name;
  std::string vendor;  // 12 characters
  u32 signature = 0;   // family, model, stepping, as CPUID 1 EAX has them
  std::string brand;   // at most 48 characters
  Features features;
  Topology topology;
  bool amd() const { return vendor == kAmd; }
  bool has_rdtscp() const {
    return features.edx81 >> 27 & 1 || features.ecx7 >> 22 & 1;
  }  // or RDPID: either one reads TSC_AUX
};

/// x86-64 baseline plus CMPXCHG16B: what the software CPU is, and what a VM has that asks for
/// nothing else.
const CpuModel& soft_v1();
/// All that the software CPU can have here. What the host's units must run for it, SSE3 to SSE4.2,
/// AES and PCLMULQDQ, is there if the host has it; what the model lacks raises #UD.
Features soft_features();

namespace model {

/// apic: does APIC_BASE enable the local APIC?
void cpuid(const CpuModel& m, u32 apic_id, u32 leaf, u32 subleaf, bool apic, u32 out[4]);

/// Empty, or a sentence that names what the model does not have.
std::string check(const CpuModel& m, u32 apic_id, const VcpuState& in);
std::string check(const ChipState& in);

}  // namespace model
}  // namespace colo::vcpu
