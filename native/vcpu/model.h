// CPU model soft-v1, the one that every backend shows: what CPUID says, and which states it can be in. Both backends judge an incoming state
// by the same rules, so that one which resumes here resumes there. (Implemented beside the software CPU, which is the model made code.)
#pragma once
#include <string>

#include "vcpu/contract.h"

namespace colo::vcpu::model {

/// apic: does APIC_BASE enable the local APIC?
void cpuid(u32 leaf, u32 subleaf, bool apic, u32 out[4]);

/// Empty, or a sentence that names what the model does not have.
std::string check(const VcpuState& in);
std::string check(const ChipState& in);

}  // namespace colo::vcpu::model
